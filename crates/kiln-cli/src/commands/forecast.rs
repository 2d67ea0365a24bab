//! `kiln forecast`: a user's own series, with intervals and a picture.

use super::write_file;
use crate::{cli::Forecast, failure::Result, modalities, models};
use kiln_datasets::TableSpec;
use kiln_timeseries::forecast::{ForecastRequest, ForecastTable, csv, terminal};
use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
};

/// Reads a table, forecasts it, prints the forecast, writes and draws it where asked.
pub fn run(args: &Forecast, out: &mut dyn Write) -> Result<()> {
    // The table first: a mistake in it should not have to wait for a download.
    let series = table(args).read()?;
    let model = models::find(&args.model)?;
    let request = ForecastRequest {
        model: modalities::forecaster(&model, args.device)?,
        series,
        horizon: args.horizon as usize,
        level: args.level / 100.0,
    };
    let tables = request.run()?;
    write!(out, "{}", terminal(&tables))?;
    if let Some(path) = &args.out {
        write_file(path, &csv(&tables))?;
        tracing::info!("wrote {}", path.display());
    }
    if let Some(path) = &args.plot {
        for (path, svg) in plots(path, &tables) {
            write_file(&path, &svg)?;
            tracing::info!("drew {}", path.display());
        }
    }
    Ok(())
}

fn table(args: &Forecast) -> TableSpec {
    TableSpec {
        path: args.input.clone(),
        time: args.time.clone(),
        targets: args.targets.clone(),
        id: args.id.clone(),
        known: args.known.clone(),
    }
}

/// A picture a target, each with a file of its own.
fn plots(path: &Path, tables: &[ForecastTable]) -> Vec<(PathBuf, String)> {
    let pictures: Vec<_> = tables
        .iter()
        .flat_map(|table| table.targets.iter().map(move |target| (table, target)))
        .collect();
    let one = pictures.len() == 1;
    let mut taken = BTreeSet::new();
    pictures
        .into_iter()
        .map(|(table, target)| {
            let svg = table.plot(target).svg();
            if one {
                return (path.to_path_buf(), svg);
            }
            let name = if table.id == target.name || table.targets.len() == 1 {
                file_name(&table.id)
            } else {
                format!("{}-{}", file_name(&table.id), file_name(&target.name))
            };
            let mut unique = name.clone();
            let mut number = 2;
            while !taken.insert(unique.clone()) {
                unique = format!("{name}-{number}");
                number += 1;
            }
            (beside(path, &unique), svg)
        })
        .collect()
}

/// `out.svg` and `north` make `out-north.svg`.
fn beside(path: &Path, name: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or_else(|| "svg".into(), |e| e.to_string_lossy());
    path.with_file_name(format!("{stem}-{name}.{extension}"))
}

/// A name from the data as part of a file's name.
fn file_name(name: &str) -> String {
    let safe = |one: char| if one.is_alphanumeric() || "-_".contains(one) { one } else { '_' };
    name.chars().map(safe).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_timeseries::forecast::TargetForecast;

    fn forecast(id: &str, targets: &[&str]) -> ForecastTable {
        let target = |name: &&str| TargetForecast {
            name: (*name).to_owned(),
            history: vec![1.0, 2.0, 3.0],
            point: vec![4.0, 5.0],
            interval: None,
        };
        ForecastTable {
            id: id.into(),
            times: None,
            first_row: 3,
            level: 0.8,
            targets: targets.iter().map(target).collect(),
            frequency: Default::default(),
            start: None,
        }
    }

    fn names(tables: &[ForecastTable]) -> Vec<String> {
        let plots = plots(Path::new("dir/out.svg"), tables);
        plots.into_iter().map(|(path, _)| path.display().to_string()).collect()
    }

    #[test]
    fn one_picture_has_the_name_that_was_asked_for() {
        assert_eq!(names(&[forecast("a", &["x"])]), ["dir/out.svg"]);
    }

    #[test]
    fn several_have_names_of_their_own() {
        let tables =
            [forecast("north", &["x"]), forecast("a/b", &["x", "y"]), forecast("a b", &["x", "y"])];
        let expected = [
            "dir/out-north.svg",
            "dir/out-a_b-x.svg",
            "dir/out-a_b-y.svg",
            "dir/out-a_b-x-2.svg",
            "dir/out-a_b-y-2.svg",
        ];
        assert_eq!(names(&tables), expected);
    }
}
