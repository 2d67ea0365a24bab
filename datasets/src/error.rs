//! Why data could not be had.

use crate::audio::AudioFault;
use chrono::NaiveDateTime;
use std::path::PathBuf;

/// Error of reading data: what went wrong with a file, a table or a configuration.
///
/// Rows are counted from 1, the header not among them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// There is no such file.
    #[error("{}: no such file{}", path.display(), did_you_mean(nearest))]
    NotFound {
        /// The file.
        path: PathBuf,
        /// A file beside it with a similar name.
        nearest: Option<String>,
    },
    /// There is no such file, nor one in the folder of data sets.
    #[error(
        "{}: no such file here, nor in {}; the environment variable KILN_DATA names the folder of \
         data sets",
        path.display(),
        folder.display()
    )]
    NotInFolder {
        /// The file, as it was given.
        path: PathBuf,
        /// The folder of data sets.
        folder: PathBuf,
    },
    /// The file could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file could not be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Neither CSV nor Parquet, or damaged.
    #[error("{}: not a readable CSV or Parquet file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// No rows.
    #[error("{}: {what}; at least one row of values is needed", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What is there: nothing, or only a header.
        what: &'static str,
    },
    /// A row with more or fewer cells than the header.
    #[error("{}: row {row} has {found} cell{}, the header has {expected}: is a separator missing or a quote left open?", path.display(), if *found == 1 { "" } else { "s" })]
    Ragged {
        /// The file.
        path: PathBuf,
        /// The row.
        row: usize,
        /// Cells of the header.
        expected: usize,
        /// Cells of the row.
        found: usize,
    },
    /// A column that the file does not have.
    #[error("{}: no column `{column}`{}; its columns are {}", path.display(), did_you_mean(nearest), listed(columns))]
    UnknownColumn {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        column: String,
        /// The name most like it.
        nearest: Option<String>,
        /// What there is.
        columns: Vec<String>,
    },
    /// A column that is asked to be two things.
    #[error("{}: column `{column}` is named both as {first} and as {second}", path.display())]
    ColumnTwice {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// One role.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// Nothing to forecast.
    #[error("{}: no numeric column besides time, id and known covariates; name the targets", path.display())]
    NoTargets {
        /// The file.
        path: PathBuf,
    },
    /// A cell of the time column that is no time.
    #[error("{}: column `{column}`, row {row}: `{text}` is not a time{hint}", path.display())]
    Timestamp {
        /// The file.
        path: PathBuf,
        /// The time column.
        column: String,
        /// The row.
        row: usize,
        /// The cell.
        text: String,
        /// What would be one.
        hint: String,
    },
    /// Dates whose day and month cannot be told apart.
    #[error("{}: column `{column}`: `{text}` may be day/month or month/day, and no row decides; write dates as 2024-01-31", path.display())]
    AmbiguousDate {
        /// The file.
        path: PathBuf,
        /// The time column.
        column: String,
        /// The first cell.
        text: String,
    },
    /// The same time twice.
    #[error("{}: column `{column}`: {time}{} appears in rows {first} and {second}; {}", path.display(), of_series(id), duplicate_advice(id))]
    DuplicateTime {
        /// The file.
        path: PathBuf,
        /// The time column.
        column: String,
        /// The time.
        time: NaiveDateTime,
        /// The series, where an id column splits the table.
        id: Option<String>,
        /// Its first row.
        first: usize,
        /// Its second row.
        second: usize,
    },
    /// Rows that are not on a regular grid of time.
    #[error("{}: column `{column}`{}: rows are not evenly spaced: {seen}; resample them to one step first", path.display(), of_series(id))]
    Irregular {
        /// The file.
        path: PathBuf,
        /// The time column.
        column: String,
        /// The series, where an id column splits the table.
        id: Option<String>,
        /// The steps found.
        seen: String,
    },
    /// A column without a single value.
    #[error("{}: column `{column}`{} has no value at all; leave it out or fill it", path.display(), of_series(id))]
    AllMissing {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The series, where an id column splits the table.
        id: Option<String>,
    },
    /// A cell that is no number.
    #[error("{}: column `{column}`, row {row}: `{text}` is not a number; leave missing cells empty", path.display())]
    NotNumeric {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The row.
        row: usize,
        /// The cell.
        text: String,
    },
    /// A column of a kind that cannot be used so.
    #[error("{}: column `{column}` holds {found}, expected {expected}", path.display())]
    ColumnType {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What it holds.
        found: String,
        /// What is needed.
        expected: &'static str,
    },
    /// An id cell that is empty.
    #[error("{}: column `{column}`, row {row}: the id is empty", path.display())]
    EmptyId {
        /// The file.
        path: PathBuf,
        /// The id column.
        column: String,
        /// The row.
        row: usize,
    },
    /// Two files that should list the same series do not.
    #[error("{}: series `{id}` is not in {}", path.display(), other.display())]
    Unpaired {
        /// The file that has it.
        path: PathBuf,
        /// The series.
        id: String,
        /// The file that lacks it.
        other: PathBuf,
    },
    /// A series too short to be split as asked.
    #[error("series `{id}` has {rows} rows, the {protocol} split needs at least {needed}")]
    TooShort {
        /// The series.
        id: String,
        /// Its rows.
        rows: usize,
        /// The protocol.
        protocol: &'static str,
        /// How many it needs.
        needed: usize,
    },
    /// A recording that cannot be used.
    #[error("{}: {fault}", path.display())]
    Audio {
        /// The file; a member of a shard stands behind its shard.
        path: PathBuf,
        /// What is wrong with it.
        fault: AudioFault,
    },
    /// A line of a file that cannot be used.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A row that cannot be used, of a file whose lines are not its rows.
    #[error("{}: row {row}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row.
        row: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing where recordings should be.
    #[error("{}: no recordings: {expected}", path.display())]
    NoRecordings {
        /// The folder, manifest or shard.
        path: PathBuf,
        /// What would have been taken for one.
        expected: &'static str,
    },
    /// Something else than text.
    #[error("{}: {reason}", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: &'static str,
    },
    /// A record without the field that its text should be in.
    #[error("{}: line {line}: no field `{field}`{}; its fields are {}", path.display(), did_you_mean(nearest), listed(fields))]
    MissingField {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What was asked for.
        field: String,
        /// The name most like it.
        nearest: Option<String>,
        /// What there is.
        fields: Vec<String>,
    },
    /// Nothing where documents should be.
    #[error("{}: no documents: {expected}", path.display())]
    NoDocuments {
        /// The folder or pattern.
        path: PathBuf,
        /// What would have been taken for one.
        expected: &'static str,
    },
    /// A program of this machine that did not do its work.
    #[error("{program}: {reason}")]
    Program {
        /// Its name.
        program: String,
        /// What went wrong, and what helps.
        reason: String,
    },
    /// A value of a configuration that cannot be.
    #[error("`{key}` is {found}, expected {expected}")]
    Config {
        /// Which value.
        key: String,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
}

impl kiln_host::blame::Blamed for DataError {}

impl DataError {
    /// A value of a configuration that cannot be.
    pub fn config(
        key: impl Into<String>,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Config { key: key.into(), found: found.to_string(), expected: expected.into() }
    }
}

/// Result with a [`DataError`].
pub type Result<T> = std::result::Result<T, DataError>;

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

fn of_series(id: &Option<String>) -> String {
    id.as_ref().map_or_else(String::new, |id| format!(" of series `{id}`"))
}

fn duplicate_advice(id: &Option<String>) -> &'static str {
    match id {
        None => "remove one, or name the column that tells series apart as the id",
        Some(_) => "remove one",
    }
}

/// At most a dozen names: a table may have thousands of columns.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>();
    if names.len() > SHOWN {
        text.push(format!("and {} more", names.len() - SHOWN));
    }
    text.join(", ")
}

/// The name most like `wanted`, if any is like it at all.
pub(crate) fn nearest<'a>(
    wanted: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let wanted = wanted.to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_ignores_case_and_gives_up() {
        assert_eq!(nearest("Unit", ["units", "price"]).as_deref(), Some("units"));
        assert_eq!(nearest("zzz", ["units", "price"]), None);
    }

    #[test]
    fn long_lists_are_cut() {
        let error = DataError::UnknownColumn {
            path: "a.csv".into(),
            column: "x".into(),
            nearest: None,
            columns: (0..20).map(|n| format!("c{n}")).collect(),
        };
        let text = error.to_string();
        assert!(text.starts_with("a.csv: no column `x`; its columns are `c0`,"), "{text}");
        assert!(text.ends_with("`c11`, and 8 more"), "{text}");
    }
}
