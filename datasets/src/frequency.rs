//! The frequency of a series, from its timestamps.

use crate::Frequency;
use chrono::{Datelike, NaiveDateTime, Timelike};
use std::collections::BTreeMap;

/// Regular time grid: how far apart rows are, and where each one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The distance between neighbours on the grid.
    pub frequency: Frequency,
    /// `[rows]`, the place of each row on the grid, from 0 and rising; leaps are gaps.
    pub places: Vec<usize>,
}

/// Finds the grid that `times` lie on: the commonest distance between neighbours, of which all
/// other distances must be multiples. Rows on the same day of the month (or all on its last day)
/// are counted in months.
///
/// `times` rise strictly. Fewer than two have no frequency.
///
/// # Errors
/// When there is no such grid; the text says which distances were seen and where.
pub fn infer(times: &[NaiveDateTime]) -> Result<Grid, String> {
    if times.len() < 2 {
        return Ok(Grid { frequency: Frequency::Unknown, places: (0..times.len()).collect() });
    }
    if let Some(grid) = monthly(times) {
        return check_filled(grid, times);
    }
    let seconds = |time: &NaiveDateTime| time.and_utc().timestamp();
    let steps: Vec<i64> =
        times.windows(2).map(|pair| seconds(&pair[1]) - seconds(&pair[0])).collect();
    let step = commonest(&steps);
    if step <= 0 || times.iter().any(|time| time.nanosecond() != times[0].nanosecond()) {
        return Err("some steps are shorter than a second".into());
    }
    if let Some(row) = steps.iter().position(|other| other % step != 0) {
        return Err(format!(
            "most steps are {}, but from {} to {} it is {}",
            duration(step),
            times[row],
            times[row + 1],
            duration(steps[row])
        ));
    }
    let frequency = if step % 86_400 == 0 {
        u32::try_from(step / 86_400).map(Frequency::Days)
    } else {
        u32::try_from(step).map(Frequency::Seconds)
    };
    let Ok(frequency) = frequency else {
        return Err(format!("a step of {} is too long", duration(step)));
    };
    if matches!(frequency, Frequency::Seconds(seconds) if seconds > 86_400) {
        return Err(format!("steps of {} are no whole number of days", duration(step)));
    }
    let first = seconds(&times[0]);
    let places = times.iter().map(|time| ((seconds(time) - first) / step) as usize).collect();
    check_filled(Grid { frequency, places }, times)
}

/// The grid in months; `None` when rows are on different days of the month or within one month.
fn monthly(times: &[NaiveDateTime]) -> Option<Grid> {
    let first = times.first()?;
    let at_end = |time: &NaiveDateTime| time.date().succ_opt().is_none_or(|next| next.day() == 1);
    let same_day = times.iter().all(|time| time.day() == first.day());
    if times.iter().any(|time| time.time() != first.time())
        || !(same_day || times.iter().all(at_end))
    {
        return None;
    }
    let month = |time: &NaiveDateTime| i64::from(time.year()) * 12 + i64::from(time.month0());
    let steps: Vec<i64> = times.windows(2).map(|pair| month(&pair[1]) - month(&pair[0])).collect();
    let step = commonest(&steps);
    if step < 1 || steps.iter().any(|other| other % step != 0) {
        return None;
    }
    let places = times.iter().map(|time| ((month(time) - month(first)) / step) as usize).collect();
    Some(Grid { frequency: Frequency::Months(u32::try_from(step).ok()?), places })
}

/// The value seen most often; the smallest of those that tie.
fn commonest(steps: &[i64]) -> i64 {
    let mut counts = BTreeMap::new();
    for step in steps {
        *counts.entry(*step).or_insert(0usize) += 1;
    }
    counts.iter().rev().max_by_key(|(_, count)| **count).map_or(0, |(step, _)| *step)
}

/// Refuses a grid that is nearly all gaps: the frequency would be a guess, and filling it could
/// take any amount of memory.
fn check_filled(grid: Grid, times: &[NaiveDateTime]) -> Result<Grid, String> {
    let rows = grid.places.last().map_or(0, |last| last + 1);
    if rows > 10 * times.len() + 1000 {
        return Err(format!(
            "{} rows between {} and {} are too few for {} data, which would be {rows} rows",
            times.len(),
            times[0],
            times[times.len() - 1],
            grid.frequency
        ));
    }
    Ok(grid)
}

/// A distance in the largest unit that it is a whole number of.
fn duration(seconds: i64) -> String {
    let (count, unit) = [(604_800, "week"), (86_400, "day"), (3600, "hour"), (60, "minute")]
        .into_iter()
        .find(|(length, _)| seconds % length == 0)
        .map_or((seconds, "second"), |(length, unit)| (seconds / length, unit));
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;
    use proptest::prelude::*;

    fn day(year: i32, month: u32, day: u32) -> NaiveDateTime {
        NaiveDate::from_ymd_opt(year, month, day).unwrap().and_hms_opt(0, 0, 0).unwrap()
    }

    #[test]
    fn calendar_steps() {
        let months = [day(2024, 1, 1), day(2024, 2, 1), day(2024, 4, 1), day(2024, 5, 1)];
        let grid = infer(&months).unwrap();
        assert_eq!(grid, Grid { frequency: Frequency::MONTHLY, places: vec![0, 1, 3, 4] });
        let ends = [day(2023, 12, 31), day(2024, 3, 31), day(2024, 6, 30), day(2024, 9, 30)];
        assert_eq!(infer(&ends).unwrap().frequency, Frequency::QUARTERLY);
        let years = [day(1871, 1, 1), day(1872, 1, 1), day(1873, 1, 1)];
        assert_eq!(infer(&years).unwrap().frequency, Frequency::YEARLY);
        let weeks = [day(2024, 2, 1), day(2024, 2, 8), day(2024, 2, 15)];
        assert_eq!(infer(&weeks).unwrap().frequency, Frequency::WEEKLY);
    }

    #[test]
    fn working_days_are_daily_with_gaps() {
        let days = [day(2024, 1, 4), day(2024, 1, 5), day(2024, 1, 8), day(2024, 1, 9)];
        let grid = infer(&days).unwrap();
        assert_eq!(grid, Grid { frequency: Frequency::DAILY, places: vec![0, 1, 4, 5] });
    }

    #[test]
    fn says_what_is_irregular() {
        let hour = |h, m| day(2024, 1, 1).date().and_hms_opt(h, m, 0).unwrap();
        let text = infer(&[hour(0, 0), hour(1, 0), hour(2, 0), hour(2, 25)]).unwrap_err();
        assert_eq!(
            text,
            "most steps are 1 hour, but from 2024-01-01 02:00:00 to 2024-01-01 02:25:00 it is 25 minutes"
        );
        let sparse = [hour(0, 0), hour(0, 1), day(2034, 1, 1)];
        assert!(infer(&sparse).unwrap_err().contains("too few for 1-minute data"));
    }

    #[test]
    fn one_row_has_none() {
        assert_eq!(infer(&[day(2024, 1, 1)]).unwrap().frequency, Frequency::Unknown);
        assert_eq!(infer(&[]).unwrap().places.len(), 0);
    }

    fn frequencies() -> impl Strategy<Value = Frequency> {
        prop_oneof![
            prop::sample::select(vec![1u32, 60, 300, 900, 1800, 3600, 7200, 21_600])
                .prop_map(Frequency::Seconds),
            prop::sample::select(vec![1u32, 7, 14]).prop_map(Frequency::Days),
            prop::sample::select(vec![1u32, 2, 3, 6, 12]).prop_map(Frequency::Months),
        ]
    }

    proptest! {
        #[test]
        fn finds_the_grid_it_was_made_from(
            frequency in frequencies(),
            start in 0i64..1_500_000_000,
            // Three rows without gaps decide which step is the commonest.
            gaps in prop::collection::vec(prop::sample::select(vec![1usize, 1, 1, 2, 5]), 3..60),
        ) {
            prop_assume!(gaps.iter().filter(|gap| **gap == 1).count() * 2 > gaps.len());
            let start = chrono::DateTime::from_timestamp(start, 0).unwrap().naive_utc();
            // Months from the 29th on are clamped in February: that is another grid.
            prop_assume!(!matches!(frequency, Frequency::Months(_)) || start.day() <= 28);
            let mut places = vec![0usize];
            for gap in &gaps {
                places.push(places[places.len() - 1] + gap);
            }
            let times: Vec<_> =
                places.iter().map(|place| frequency.after(start, *place as u64).unwrap()).collect();
            let grid = infer(&times).unwrap();
            prop_assert_eq!(grid, Grid { frequency, places });
        }
    }
}
