//! Forecasts as CSV and as a table for terminals.

use super::ForecastTable;
use chrono::{NaiveDateTime, NaiveTime};
use kiln_train::report::table::columns;
use std::fmt::Write as _;

/// Rows shown at the start and at the end of a long forecast.
const SHOWN: (usize, usize) = (8, 4);

/// Long format, one line a row and target: `time,series,target,forecast,lower,upper`. Rows are
/// numbered from 0, the history's included, where there are no times. Ends of intervals are empty
/// where there are none.
pub fn csv(tables: &[ForecastTable]) -> String {
    let mut text = String::from("time,series,target,forecast,lower,upper\n");
    for table in tables {
        let times = labels(table);
        for target in &table.targets {
            for (step, (time, point)) in times.iter().zip(&target.point).enumerate() {
                let end =
                    |values: &Vec<f32>| values.get(step).map(f32::to_string).unwrap_or_default();
                let (lower, upper) = target
                    .interval
                    .as_ref()
                    .map(|(lower, upper)| (end(lower), end(upper)))
                    .unwrap_or_default();
                let (id, name) = (quoted(&table.id), quoted(&target.name));
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{time},{id},{name},{point},{lower},{upper}");
            }
        }
    }
    text
}

/// Aligned columns, the middle of long forecasts left out.
pub fn terminal(tables: &[ForecastTable]) -> String {
    let mut text = String::new();
    for table in tables {
        let times = labels(table);
        for target in &table.targets {
            if !text.is_empty() {
                text.push('\n');
            }
            let name = if target.name == table.id {
                table.id.clone()
            } else {
                format!("{} · {}", table.id, target.name)
            };
            text.push_str(&name);
            text.push('\n');
            let range = format!("{:.0} % interval", 100.0 * table.level);
            let head = ["time", "forecast", "lower", "upper"].map(String::from);
            let decimals = decimals(&target.point);
            let number = |value: Option<&f32>| {
                value.map_or_else(|| "-".into(), |v| format!("{v:.decimals$}"))
            };
            let row = |step: usize| {
                let ends = target.interval.as_ref();
                vec![
                    times.get(step).cloned().unwrap_or_default(),
                    number(target.point.get(step)),
                    number(ends.and_then(|(lower, _)| lower.get(step))),
                    number(ends.and_then(|(_, upper)| upper.get(step))),
                ]
            };
            let length = target.point.len();
            let (first, last) = if length > SHOWN.0 + SHOWN.1 + 1 { SHOWN } else { (length, 0) };
            let mut rows: Vec<_> = (0..first).map(row).collect();
            if last > 0 {
                let left_out = format!("… {} more", length - first - last);
                rows.push(vec![left_out, "…".into(), "…".into(), "…".into()]);
                rows.extend((length - last..length).map(row));
            }
            text.push_str(&columns(&head, &rows, 1));
            match target.interval {
                Some(_) => {
                    let _ = writeln!(text, "lower and upper: {range}");
                }
                None => {
                    text.push_str("no intervals: the history is too short to tell errors from\n")
                }
            }
        }
    }
    text
}

/// Times where there are any, otherwise row numbers.
fn labels(table: &ForecastTable) -> Vec<String> {
    match &table.times {
        Some(times) => {
            let days = times.iter().all(|time| time.time() == NaiveTime::MIN);
            let pattern = if days { "%Y-%m-%d" } else { "%Y-%m-%d %H:%M:%S" };
            times.iter().map(|time: &NaiveDateTime| time.format(pattern).to_string()).collect()
        }
        None => {
            let rows = table.targets.first().map_or(0, |target| target.point.len());
            (table.first_row..table.first_row + rows).map(|row| row.to_string()).collect()
        }
    }
}

/// A CSV cell, in quotes where it needs them.
fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}

/// Decimals that show four digits of the largest number.
fn decimals(values: &[f32]) -> usize {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    match largest {
        size if size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        size if size >= 0.1 || size == 0.0 => 3,
        _ => 6,
    }
}
