//! The layout of the M4 competition: one row a series, its id first, as many values as it has.
//!
//! `Weekly-train.csv` and `Weekly-test.csv` list the same series; the test file holds each one's
//! horizon (<https://github.com/Mcompetitions/M4-methods>).

use crate::{
    DataError, Frequency, Result, Series,
    files::read_text,
    tabular::delimited::{Dialect, Record, Records, UNCLOSED, lines},
    text::number,
};
use std::{collections::HashMap, path::Path};

/// Holdout of a series: its history, and the held-out continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Holdout {
    /// One channel, what may be looked at.
    pub series: Series,
    /// `[horizon]`, what is to be forecast.
    pub future: Vec<f32>,
}

/// Reads a file of series in M4's layout. A first row that starts with an empty cell, `id` or `V1`
/// is a header.
///
/// # Errors
/// When the file is missing, is no text, has no series, or a cell is no number.
pub fn read_series(path: &Path, frequency: Frequency) -> Result<Vec<Series>> {
    let text = read_text(path)?;
    let mut made = Vec::new();
    let (mut row, dialect) = (0, Dialect::CSV);
    for (place, record) in Records::new(lines(&text), dialect).enumerate() {
        let Record { place: line, text, closed } = record?;
        if !closed {
            return Err(DataError::Line { path: path.into(), line, reason: UNCLOSED.to_owned() });
        }
        let mut cells = dialect.cells(&text).into_iter();
        let id = cells.next().unwrap_or_default().trim().to_owned();
        if place == 0 && (id.is_empty() || id.eq_ignore_ascii_case("id") || id == "V1") {
            continue;
        }
        row += 1;
        let mut values = Vec::new();
        for (column, cell) in cells.enumerate() {
            let value = number(&cell, false).ok_or_else(|| DataError::NotNumeric {
                path: path.into(),
                column: format!("V{}", column + 2),
                row,
                text: cell.to_string(),
            })?;
            values.push(value.map_or(f32::NAN, |value| value as f32));
        }
        // Shorter series are filled up with empty cells on the right.
        let length = values.iter().rposition(|value| !value.is_nan()).map_or(0, |last| last + 1);
        values.truncate(length);
        if values.is_empty() {
            let (path, column) = (path.into(), format!("{id} (row {row})"));
            return Err(DataError::AllMissing { path, column, id: None });
        }
        made.push(Series::univariate(id, values, frequency));
    }
    if made.is_empty() {
        return Err(DataError::Empty { path: path.into(), what: "there is no series in it" });
    }
    Ok(made)
}

/// Reads a training file and its test file, in the order of the training file.
///
/// # Errors
/// As [`read_series`], and when a series is in one file only.
pub fn read_pair(train: &Path, test: &Path, frequency: Frequency) -> Result<Vec<Holdout>> {
    let unpaired = |path: &Path, other: &Path, id: &str| DataError::Unpaired {
        path: path.into(),
        id: id.to_owned(),
        other: other.into(),
    };
    let mut futures: HashMap<String, Vec<f32>> = read_series(test, frequency)?
        .into_iter()
        .map(|series| (series.id, series.values.into_iter().collect()))
        .collect();
    let mut pairs = Vec::new();
    for series in read_series(train, frequency)? {
        let future = futures.remove(&series.id).ok_or_else(|| unpaired(train, test, &series.id))?;
        pairs.push(Holdout { series, future });
    }
    match futures.into_keys().min() {
        Some(id) => Err(unpaired(test, train, &id)),
        None => Ok(pairs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn ragged_rows_end_where_they_end() {
        let train = written(
            "\"V1\",\"V2\",\"V3\",\"V4\"\n\"W1\",\"1\",\"2\",\"3\"\n\"W2\",\"4\",,\nW3,5,NA,7\n",
        );
        let series = read_series(train.path(), Frequency::WEEKLY).unwrap();
        let lengths: Vec<_> = series.iter().map(Series::len).collect();
        assert_eq!(lengths, [3, 1, 3]);
        assert_eq!(series[2].id, "W3");
        assert!(series[2].values[[1, 0]].is_nan());
        assert_eq!(series[2].values[[2, 0]], 7.0);
    }

    #[test]
    fn pairs_by_id() {
        let train = written("W1,1,2\nW2,3,4\n");
        let test = written("V1,V2\nW2,40\nW1,20\n");
        let pairs = read_pair(train.path(), test.path(), Frequency::WEEKLY).unwrap();
        assert_eq!((pairs[0].series.id.as_str(), &pairs[0].future), ("W1", &vec![20.0]));
        let other = written("W1,20\n");
        let error = read_pair(train.path(), other.path(), Frequency::WEEKLY).unwrap_err();
        assert!(error.to_string().contains("series `W2` is not in"), "{error}");
        let error = read_pair(other.path(), train.path(), Frequency::WEEKLY).unwrap_err();
        assert!(error.to_string().contains("series `W2` is not in"), "{error}");
    }

    #[test]
    fn mistakes_are_named() {
        let message = |text: &str| {
            read_series(written(text).path(), Frequency::WEEKLY).unwrap_err().to_string()
        };
        let text = message("V1,V2,V3\nW1,1,2\nW2,3,x4\n");
        assert!(text.contains("column `V3`, row 2: `x4` is not a number"), "{text}");
        let text = message("W1,1,2\nW2,,\n");
        assert!(text.contains("column `W2 (row 2)` has no value"), "{text}");
        assert!(message("").contains("no series"));
        assert!(message("V1,V2\n").contains("no series"));
    }

    #[test]
    fn the_real_weekly_files() {
        let Some(dir) = kiln_host::testing::data("timeseries/m4") else { return };
        let (train, test) = (dir.join("Weekly-train.csv"), dir.join("Weekly-test.csv"));
        let pairs = read_pair(&train, &test, Frequency::WEEKLY).unwrap();
        assert_eq!(pairs.len(), 359);
        assert!(pairs.iter().all(|pair| pair.future.len() == 13 && pair.series.len() >= 80));
        assert_eq!(pairs[0].series.values[[0, 0]], 1089.2);
        assert_eq!(pairs[0].future[12], 34066.95);
    }
}
