//! A time series in memory: values on a regular grid of time.

use chrono::{Days, Months, NaiveDateTime, TimeDelta};
use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Sampling frequency of a series: the distance between two rows.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Frequency {
    /// Rows are numbered, not dated.
    #[default]
    Unknown,
    /// This many seconds, less than a day.
    Seconds(u32),
    /// This many days; weeks are `Days(7)`.
    Days(u32),
    /// This many calendar months: 1, 3 for quarters, 12 for years.
    Months(u32),
}

impl Frequency {
    /// Hourly rows.
    pub const HOURLY: Self = Self::Seconds(3600);
    /// Daily rows.
    pub const DAILY: Self = Self::Days(1);
    /// Weekly rows.
    pub const WEEKLY: Self = Self::Days(7);
    /// Monthly rows.
    pub const MONTHLY: Self = Self::Months(1);
    /// Quarterly rows.
    pub const QUARTERLY: Self = Self::Months(3);
    /// Yearly rows.
    pub const YEARLY: Self = Self::Months(12);

    /// Rows in the season a forecaster would try first: a day of hours, a week of days, a year of
    /// weeks, months or quarters; 1 where there is none.
    pub fn season(self) -> usize {
        match self {
            Self::Unknown | Self::Seconds(0) => 1,
            Self::Seconds(seconds) => (86_400 / seconds).max(1) as usize,
            Self::Days(1) => 7,
            Self::Days(7) => 52,
            Self::Days(_) | Self::Months(0) => 1,
            Self::Months(months) => (12 / months).max(1) as usize,
        }
    }

    /// The time `rows` rows after `start`; `None` beyond the calendar or where rows are numbered.
    pub fn after(self, start: NaiveDateTime, rows: u64) -> Option<NaiveDateTime> {
        match self {
            Self::Unknown => None,
            Self::Seconds(seconds) => {
                let seconds = i64::try_from(rows).ok()?.checked_mul(i64::from(seconds))?;
                start.checked_add_signed(TimeDelta::try_seconds(seconds)?)
            }
            Self::Days(days) => start.checked_add_days(Days::new(rows.checked_mul(days.into())?)),
            Self::Months(months) => {
                let months = u32::try_from(rows.checked_mul(months.into())?).ok()?;
                start.checked_add_months(Months::new(months))
            }
        }
    }

    /// The distance between rows when only every `factor`-th is kept; undated where that has no
    /// name, such as 36 hours.
    pub fn coarser(self, factor: u32) -> Self {
        let product = |unit: u32| unit.checked_mul(factor.max(1));
        match self {
            Self::Unknown => Self::Unknown,
            Self::Seconds(seconds) => match product(seconds) {
                Some(total) if total < 86_400 => Self::Seconds(total),
                Some(total) if total % 86_400 == 0 => Self::Days(total / 86_400),
                _ => Self::Unknown,
            },
            Self::Days(days) => product(days).map_or(Self::Unknown, Self::Days),
            Self::Months(months) => product(months).map_or(Self::Unknown, Self::Months),
        }
    }
}

impl fmt::Display for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unknown => f.write_str("undated"),
            Self::HOURLY => f.write_str("hourly"),
            Self::DAILY => f.write_str("daily"),
            Self::WEEKLY => f.write_str("weekly"),
            Self::MONTHLY => f.write_str("monthly"),
            Self::QUARTERLY => f.write_str("quarterly"),
            Self::YEARLY => f.write_str("yearly"),
            Self::Seconds(seconds) if seconds % 3600 == 0 => write!(f, "{}-hour", seconds / 3600),
            Self::Seconds(seconds) if seconds % 60 == 0 => write!(f, "{}-minute", seconds / 60),
            Self::Seconds(seconds) => write!(f, "{seconds}-second"),
            Self::Days(days) => write!(f, "{days}-day"),
            Self::Months(months) => write!(f, "{months}-month"),
        }
    }
}

/// Multivariate time series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What tells it from others: a column's name, an id, a generator's index.
    pub id: String,
    /// The names of its channels.
    pub channels: Vec<String>,
    /// `[time, channels]`; NaN where a value is missing.
    pub values: Array2<f32>,
    /// The last this many channels are covariates whose future is known.
    pub known: usize,
    /// `[rows after the end, known]`: the future of those covariates, as far as it is given.
    pub future: Option<Array2<f32>>,
    /// The time of the first row.
    pub start: Option<NaiveDateTime>,
    /// The distance between rows.
    pub frequency: Frequency,
    /// Which group of series it belongs to, for pretext tasks: a sector, a generator's family.
    pub group: Option<u32>,
}

impl Series {
    /// A series of one channel without dates.
    pub fn univariate(id: impl Into<String>, values: Vec<f32>, frequency: Frequency) -> Self {
        let id = id.into();
        Self {
            channels: vec![id.clone()],
            id,
            values: Array2::from_shape_fn((values.len(), 1), |(row, _)| values[row]),
            known: 0,
            future: None,
            start: None,
            frequency,
            group: None,
        }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.values.nrows()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels that are to be forecast: those that are not known covariates.
    pub fn targets(&self) -> usize {
        self.values.ncols().saturating_sub(self.known)
    }

    /// The time of a row, which may lie beyond the end; `None` where rows are undated.
    pub fn time(&self, row: usize) -> Option<NaiveDateTime> {
        self.frequency.after(self.start?, row as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;

    #[test]
    fn frequencies_grow() {
        assert_eq!(Frequency::HOURLY.coarser(24), Frequency::DAILY);
        assert_eq!(Frequency::HOURLY.coarser(36), Frequency::Unknown);
        assert_eq!(Frequency::DAILY.coarser(7), Frequency::WEEKLY);
        assert_eq!(Frequency::MONTHLY.coarser(3), Frequency::QUARTERLY);
        assert_eq!(Frequency::Days(u32::MAX).coarser(2), Frequency::Unknown);
    }

    #[test]
    fn months_end_where_the_month_ends() {
        let start = NaiveDate::from_ymd_opt(2023, 10, 31).unwrap().and_hms_opt(0, 0, 0).unwrap();
        let mut series = Series::univariate("s", vec![1.0; 3], Frequency::MONTHLY);
        assert_eq!(series.time(4), None, "no start, no dates");
        series.start = Some(start);
        assert_eq!(series.time(4).unwrap().date(), NaiveDate::from_ymd_opt(2024, 2, 29).unwrap());
        assert_eq!(Frequency::DAILY.after(start, u64::MAX), None);
    }

    #[test]
    fn frequencies_have_names() {
        let named = [
            (Frequency::HOURLY, "hourly"),
            (Frequency::Seconds(900), "15-minute"),
            (Frequency::Seconds(7200), "2-hour"),
            (Frequency::Days(14), "14-day"),
            (Frequency::YEARLY, "yearly"),
        ];
        for (frequency, name) in named {
            assert_eq!(frequency.to_string(), name);
        }
    }
}
