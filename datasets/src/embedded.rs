//! Small real series that come with Kiln; `embedded/README.md` names sources and licences.

use crate::{DataError, Frequency, Result, Series, text::number};
use chrono::NaiveDate;
use ndarray::Array2;

/// Benchmark data set: series that are evaluated together.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Its name in tables: `uk-demand`.
    pub name: String,
    /// One series, with as many channels as there are variables; all rows of the data set.
    pub series: Vec<Series>,
    /// How many rows ahead it is usually forecast; the last this many are the test part.
    pub horizon: usize,
    /// Rows of the season that the seasonal naive forecast repeats.
    pub season: usize,
}

/// A file in the binary.
struct File {
    name: &'static str,
    text: &'static str,
    frequency: Frequency,
    /// Year, month and day of the first row, where the data have dates.
    start: Option<(i32, u32, u32)>,
    horizon: usize,
}

/// The files: the data set's name, the file's, its frequency, the first row, the horizon.
macro_rules! files {
    ($(($name:literal, $file:literal, $frequency:ident, $start:expr, $horizon:literal)),* $(,)?) => {
        [$(File {
            name: $name,
            text: include_str!(concat!("../embedded/", $file, ".csv")),
            frequency: Frequency::$frequency,
            start: $start,
            horizon: $horizon,
        }),*]
    };
}

const FILES: [File; 9] = files![
    ("uk-demand", "uk_demand_hourly", HOURLY, Some((2005, 1, 1)), 96),
    // A typical year is put together from several: it has no dates.
    ("greensboro-weather", "greensboro_hourly", HOURLY, None, 96),
    ("seattle-weather", "seattle_daily", DAILY, Some((2012, 1, 1)), 30),
    ("co2", "co2_weekly", WEEKLY, Some((1958, 3, 29)), 52),
    ("el-nino", "elnino_monthly", MONTHLY, Some((1950, 1, 1)), 12),
    ("us-employment", "us_employment_monthly", MONTHLY, Some((2006, 1, 1)), 12),
    ("us-macro", "us_macro_quarterly", QUARTERLY, Some((1959, 1, 1)), 8),
    ("sunspots", "sunspots_yearly", YEARLY, Some((1700, 1, 1)), 8),
    ("nile", "nile_yearly", YEARLY, Some((1871, 1, 1)), 6),
];

/// Embedded data sets by name; all if none is named.
///
/// # Errors
/// When there is none of a name.
pub fn chosen(names: &[String]) -> Result<Vec<Dataset>> {
    match names {
        [] => all(),
        names => names.iter().map(|name| named(name)).collect(),
    }
}

/// All embedded data sets, the fastest rows first.
///
/// # Errors
/// When an embedded file is damaged, which a test rules out.
pub fn all() -> Result<Vec<Dataset>> {
    FILES.iter().map(File::dataset).collect()
}

/// One embedded data set.
///
/// # Errors
/// When there is none of this name; the error lists the names.
pub fn named(name: &str) -> Result<Dataset> {
    let file = FILES.iter().find(|file| file.name == name).ok_or_else(|| DataError::Config {
        key: "embedded".into(),
        found: format!("`{name}`"),
        expected: names().collect::<Vec<_>>().join(", "),
    })?;
    file.dataset()
}

/// The names of the embedded data sets.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.name)
}

impl File {
    fn dataset(&self) -> Result<Dataset> {
        let mut lines = self.text.lines();
        let header = lines.next().unwrap_or_default();
        let channels: Vec<String> = header.split(',').map(str::to_owned).collect();
        let mut cells = Vec::new();
        for (row, line) in lines.enumerate() {
            let before = cells.len();
            for (column, cell) in line.split(',').enumerate() {
                let value = number(cell, false).ok_or_else(|| DataError::NotNumeric {
                    path: self.name.into(),
                    column: channels.get(column).cloned().unwrap_or_default(),
                    row: row + 1,
                    text: cell.to_owned(),
                })?;
                cells.push(value.map_or(f32::NAN, |value| value as f32));
            }
            let found = cells.len() - before;
            if found != channels.len() {
                let (path, expected) = (self.name.into(), channels.len());
                return Err(DataError::Ragged { path, row: row + 1, expected, found });
            }
        }
        let shape = (cells.len() / channels.len().max(1), channels.len());
        let values = Array2::from_shape_vec(shape, cells).map_err(|error| DataError::Format {
            path: self.name.into(),
            reason: error.to_string(),
        })?;
        let start = self.start.and_then(|(year, month, day)| {
            NaiveDate::from_ymd_opt(year, month, day)?.and_hms_opt(0, 0, 0)
        });
        let series = Series {
            id: self.name.to_owned(),
            channels,
            values,
            known: 0,
            future: None,
            start,
            frequency: self.frequency,
            group: None,
        };
        Ok(Dataset {
            name: self.name.to_owned(),
            series: vec![series],
            horizon: self.horizon,
            season: self.frequency.season(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_are_whole() {
        let sets = all().unwrap();
        let rows: Vec<_> =
            sets.iter().map(|set| (set.name.as_str(), set.series[0].len())).collect();
        let expected = [
            ("uk-demand", 8760),
            ("greensboro-weather", 8760),
            ("seattle-weather", 1461),
            ("co2", 2284),
            ("el-nino", 732),
            ("us-employment", 120),
            ("us-macro", 203),
            ("sunspots", 309),
            ("nile", 100),
        ];
        assert_eq!(rows, expected);
        for set in &sets {
            let series = &set.series[0];
            assert_eq!(series.channels.len(), series.values.ncols());
            assert!(series.len() > 8 * set.horizon, "{}", set.name);
            let missing = series.values.iter().filter(|v| v.is_nan()).count();
            assert_eq!(missing, if set.name == "co2" { 59 } else { 0 }, "{}", set.name);
        }
        assert!(FILES.iter().map(|file| file.text.len()).sum::<usize>() < 300_000);
    }

    #[test]
    fn dates_end_where_the_sources_do() {
        let last = |name: &str| {
            let series = named(name).unwrap().series.remove(0);
            series.time(series.len() - 1).unwrap().to_string()
        };
        assert_eq!(last("uk-demand"), "2005-12-31 23:00:00");
        assert_eq!(last("seattle-weather"), "2015-12-31 00:00:00");
        assert_eq!(last("co2"), "2001-12-29 00:00:00");
        assert_eq!(last("us-macro"), "2009-07-01 00:00:00");
        assert_eq!(last("nile"), "1970-01-01 00:00:00");
    }

    #[test]
    fn an_unknown_name_lists_the_known() {
        let text = named("nil").unwrap_err().to_string();
        assert!(text.contains("uk-demand, greensboro-weather"), "{text}");
    }
}
