//! Columns to series: roles, times, grids, gaps and futures.

use super::{
    TableSpec,
    read::{Cells, Column, Columns},
    time::{TimeError, parse_column},
};
use crate::{
    DataError, Frequency, Result, Series, frequency, tabular::unknown_column, text::number,
};
use chrono::NaiveDateTime;
use ndarray::{Array2, ArrayView2, s};
use std::collections::HashMap;

/// Makes series of a file's columns.
pub(super) fn assemble(spec: &TableSpec, table: &Columns) -> Result<Vec<Series>> {
    check_roles(spec)?;
    let time = match &spec.time {
        Some(name) => Some((name.as_str(), times(spec, find(spec, table, name)?)?)),
        None => None,
    };
    let targets = match spec.targets.is_empty() {
        true => numeric_columns(spec, table)?,
        false => named_columns(spec, table, &spec.targets)?,
    };
    let known = named_columns(spec, table, &spec.known)?;
    let channels: Vec<&NumberColumn<'_>> = targets.iter().chain(&known).collect();

    let mut made = Vec::new();
    for (id, rows) in groups(spec, table)? {
        made.push(series(spec, id, rows, time.as_ref(), &channels)?);
    }
    share_frequency(&mut made);
    Ok(made)
}

/// A column of numbers, NaN where missing.
struct NumberColumn<'a> {
    name: &'a str,
    values: Vec<f64>,
}

/// A column can have one role only.
fn check_roles(spec: &TableSpec) -> Result<()> {
    let time = spec.time.iter().map(|name| (name, "time"));
    let id = spec.id.iter().map(|name| (name, "id"));
    let targets = spec.targets.iter().map(|name| (name, "target"));
    let known = spec.known.iter().map(|name| (name, "known covariate"));
    let mut seen: HashMap<&str, &'static str> = HashMap::new();
    for (name, role) in time.chain(id).chain(targets).chain(known) {
        if let Some(first) = seen.insert(name, role) {
            let (path, column) = (spec.path().into(), name.clone());
            return Err(DataError::ColumnTwice { path, column, first, second: role });
        }
    }
    Ok(())
}

fn find<'a>(spec: &TableSpec, table: &'a Columns, name: &str) -> Result<&'a Column> {
    table.columns.iter().find(|column| column.name == name).ok_or_else(|| {
        let names: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
        unknown_column(spec.path(), name, &names)
    })
}

fn times(spec: &TableSpec, column: &Column) -> Result<Vec<NaiveDateTime>> {
    let unreadable = |place: usize, text: String, hint: String| DataError::Timestamp {
        path: spec.path().into(),
        column: column.name.clone(),
        row: place + 1,
        text,
        hint,
    };
    let text;
    let cells = match &column.cells {
        Cells::Times(times) => {
            let time = |(place, time): (usize, &Option<NaiveDateTime>)| {
                time.ok_or_else(|| unreadable(place, String::new(), ": it is empty".into()))
            };
            return times.iter().enumerate().map(time).collect();
        }
        Cells::Text(cells) => cells,
        // Years and seconds since 1970 come as numbers in Parquet.
        Cells::Numbers(numbers) => {
            text = numbers.iter().map(|n| n.is_finite().then(|| n.to_string())).collect();
            &text
        }
        Cells::Other(found) => {
            return Err(DataError::ColumnType {
                path: spec.path().into(),
                column: column.name.clone(),
                found: found.clone(),
                expected: "times",
            });
        }
    };
    parse_column(cells).map_err(|error| {
        let text = |place: usize| cells.get(place).cloned().flatten().unwrap_or_default();
        match error {
            TimeError::Unreadable { place, hint } => unreadable(place, text(place), hint),
            TimeError::Ambiguous { place } => DataError::AmbiguousDate {
                path: spec.path().into(),
                column: column.name.clone(),
                text: text(place),
            },
        }
    })
}

fn named_columns<'a>(
    spec: &TableSpec,
    table: &'a Columns,
    names: &[String],
) -> Result<Vec<NumberColumn<'a>>> {
    let column = |name: &String| numbers(spec, table, find(spec, table, name)?);
    names.iter().map(column).collect()
}

/// All columns without another role that hold numbers. A column where most cells are numbers
/// counts: the one that is none is a mistake to be shown, not a reason to drop the column.
fn numeric_columns<'a>(spec: &TableSpec, table: &'a Columns) -> Result<Vec<NumberColumn<'a>>> {
    let taken = |name: &String| {
        spec.time.as_ref() == Some(name)
            || spec.id.as_ref() == Some(name)
            || spec.known.contains(name)
    };
    let numeric = |column: &&Column| match &column.cells {
        Cells::Numbers(_) => true,
        Cells::Text(cells) => {
            let written = cells.iter().flatten();
            let (mut yes, mut no) = (0usize, 0usize);
            for cell in written {
                match number(cell, table.decimal_comma) {
                    Some(Some(_)) => yes += 1,
                    Some(None) => {}
                    None => no += 1,
                }
            }
            yes > no || no == 0
        }
        Cells::Times(_) | Cells::Other(_) => false,
    };
    let columns = table.columns.iter().filter(|column| !taken(&column.name)).filter(numeric);
    let columns: Vec<_> =
        columns.map(|column| numbers(spec, table, column)).collect::<Result<_>>()?;
    if columns.is_empty() {
        return Err(DataError::NoTargets { path: spec.path().into() });
    }
    Ok(columns)
}

fn numbers<'a>(spec: &TableSpec, table: &Columns, column: &'a Column) -> Result<NumberColumn<'a>> {
    let (path, name) = (|| spec.path().into(), column.name.as_str());
    let values: Vec<f64> = match &column.cells {
        // Infinite values come from a division by zero somewhere: nothing was measured.
        Cells::Numbers(numbers) => {
            numbers.iter().map(|n| if n.is_finite() { *n } else { f64::NAN }).collect()
        }
        Cells::Text(cells) => {
            let value = |(place, cell): (usize, &Option<String>)| {
                let text = cell.as_deref().unwrap_or_default();
                let value = number(text, table.decimal_comma).ok_or_else(|| {
                    let (column, text) = (name.to_owned(), text.to_owned());
                    DataError::NotNumeric { path: path(), column, row: place + 1, text }
                })?;
                Ok(value.unwrap_or(f64::NAN))
            };
            cells.iter().enumerate().map(value).collect::<Result<_>>()?
        }
        Cells::Times(_) => {
            let (found, column) = ("times".to_owned(), name.to_owned());
            return Err(DataError::ColumnType { path: path(), column, found, expected: "numbers" });
        }
        Cells::Other(found) => {
            let (found, column) = (found.clone(), name.to_owned());
            return Err(DataError::ColumnType { path: path(), column, found, expected: "numbers" });
        }
    };
    if values.iter().all(|value| value.is_nan()) {
        return Err(DataError::AllMissing { path: path(), column: name.to_owned(), id: None });
    }
    Ok(NumberColumn { name, values })
}

/// The rows of each id, in order of first appearance; all rows without an id column.
fn groups(spec: &TableSpec, table: &Columns) -> Result<Vec<(Option<String>, Vec<usize>)>> {
    let Some(name) = &spec.id else { return Ok(vec![(None, (0..table.rows).collect())]) };
    let column = find(spec, table, name)?;
    let cell = |row: usize| match &column.cells {
        Cells::Text(cells) => cells.get(row).cloned().flatten(),
        Cells::Numbers(cells) => cells.get(row).filter(|n| !n.is_nan()).map(ToString::to_string),
        Cells::Times(cells) => cells.get(row).copied().flatten().map(|time| time.to_string()),
        Cells::Other(_) => None,
    };
    let mut groups: Vec<(Option<String>, Vec<usize>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for row in 0..table.rows {
        let Some(id) = cell(row).filter(|id| !id.trim().is_empty()) else {
            let (path, column) = (spec.path().into(), name.clone());
            return Err(DataError::EmptyId { path, column, row: row + 1 });
        };
        let place = *places.entry(id.clone()).or_insert_with(|| {
            groups.push((Some(id), Vec::new()));
            groups.len() - 1
        });
        if let Some((_, rows)) = groups.get_mut(place) {
            rows.push(row);
        }
    }
    Ok(groups)
}

fn series(
    spec: &TableSpec,
    id: Option<String>,
    mut rows: Vec<usize>,
    time: Option<&(&str, Vec<NaiveDateTime>)>,
    channels: &[&NumberColumn<'_>],
) -> Result<Series> {
    let known = spec.known.len();
    let mut start = None;
    let (frequency, places) = match time {
        None => (Frequency::Unknown, (0..rows.len()).collect()),
        Some((column, times)) => {
            rows.sort_by_key(|row| times[*row]);
            if let Some(pair) = rows.windows(2).find(|pair| times[pair[0]] == times[pair[1]]) {
                return Err(DataError::DuplicateTime {
                    path: spec.path().into(),
                    column: (*column).to_owned(),
                    time: times[pair[0]],
                    id,
                    first: pair[0].min(pair[1]) + 1,
                    second: pair[0].max(pair[1]) + 1,
                });
            }
            let sorted: Vec<NaiveDateTime> = rows.iter().map(|row| times[*row]).collect();
            start = sorted.first().copied();
            let grid = frequency::infer(&sorted).map_err(|seen| DataError::Irregular {
                path: spec.path().into(),
                column: (*column).to_owned(),
                id: id.clone(),
                seen,
            })?;
            (grid.frequency, grid.places)
        }
    };
    let length = places.last().map_or(0, |last| last + 1);
    let mut values = Array2::from_elem((length, channels.len()), f32::NAN);
    for (row, place) in rows.iter().zip(&places) {
        for (channel, column) in channels.iter().enumerate() {
            values[[*place, channel]] = column.values[*row] as f32;
        }
    }
    let empty = values.columns().into_iter().position(|column| column.iter().all(|v| v.is_nan()));
    if let Some(column) = empty {
        let (path, column) = (spec.path().into(), channels[column].name.to_owned());
        return Err(DataError::AllMissing { path, column, id });
    }
    let (values, future) = split_future(values, known);
    Ok(Series {
        id: id.unwrap_or_else(|| spec.stem()),
        channels: channels.iter().map(|column| column.name.to_owned()).collect(),
        values,
        known,
        future,
        start,
        frequency,
        group: None,
    })
}

/// Cuts off the rows after the last one with a target: `[time, channels]` to the past and the
/// future `[rows, known]` of the covariates.
fn split_future(values: Array2<f32>, known: usize) -> (Array2<f32>, Option<Array2<f32>>) {
    let targets = values.ncols() - known;
    let has_target = |row: &usize| values.row(*row).iter().take(targets).any(|v| !v.is_nan());
    let end = (0..values.nrows()).rev().find(has_target).map_or(0, |row| row + 1);
    if known == 0 || end == values.nrows() {
        return (values, None);
    }
    let future: ArrayView2<'_, f32> = values.slice(s![end.., targets..]);
    (values.slice(s![..end, ..]).to_owned(), Some(future.to_owned()))
}

/// A series of one row has no frequency of its own: it gets the commonest of the others.
fn share_frequency(made: &mut [Series]) {
    let mut counts: HashMap<Frequency, usize> = HashMap::new();
    for series in made.iter().filter(|series| series.start.is_some()) {
        if series.frequency != Frequency::Unknown {
            *counts.entry(series.frequency).or_default() += 1;
        }
    }
    // Ties go to the finer frequency, not to the order of a hash map.
    let commonest =
        counts.iter().max_by_key(|(frequency, count)| (**count, std::cmp::Reverse(**frequency)));
    let Some(common) = commonest.map(|(frequency, _)| *frequency) else { return };
    for series in made.iter_mut().filter(|series| series.start.is_some()) {
        if series.frequency == Frequency::Unknown {
            series.frequency = common;
        }
    }
}
