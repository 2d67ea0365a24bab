//! `kiln forecast`: a user's own series, with intervals and a picture.

use crate::{
    forecast::{
        ForecastRequest, ForecastTable,
        output::{csv, terminal},
    },
    job::open_forecaster,
    recipe::MODALITY,
};
use clap::{Parser, value_parser};
use kiln_datasets::TableSpec;
use kiln_train::{
    dispatch,
    failure::{Failure, Result},
    recipe::Device,
    verb::{RunVerb, VerbContext, write_file},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Forecast the series of a CSV or Parquet file
#[derive(Debug, Parser)]
#[command(
    name = "forecast",
    after_help = "\
Examples:
  kiln forecast --model runs/zero-shot --input sales.csv --time date --target units --horizon 30 \\
      --plot out.svg --out out.csv
  kiln forecast --model runs/zero-shot --input shops.parquet --time day --id shop --horizon 14

The distance between rows is inferred from the times. Empty cells are missing values. Columns that
--known names must go on for the horizon: add rows with their future values and empty targets."
)]
pub struct Forecast {
    /// A run, a model directory, or a hub id (organisation/name[@revision])
    #[arg(long, short)]
    pub model: String,
    /// A CSV or Parquet file
    #[arg(long, short, value_name = "FILE")]
    pub input: PathBuf,
    /// The column of times [default: rows are taken to be in order]
    #[arg(long, value_name = "COLUMN")]
    pub time: Option<String>,
    /// A column to forecast; repeat for several [default: all columns of numbers]
    #[arg(long = "target", value_name = "COLUMN")]
    pub targets: Vec<String>,
    /// The column that tells series apart, when they stand below each other
    #[arg(long, value_name = "COLUMN")]
    pub id: Option<String>,
    /// Columns whose future is known: holidays, prices set ahead
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub known: Vec<String>,
    /// How many rows to forecast
    #[arg(long, short = 'n', value_name = "ROWS", value_parser = value_parser!(u32).range(1..))]
    pub horizon: u32,
    /// How many future values in a hundred the interval should hold
    #[arg(long, value_name = "PERCENT", default_value = "80", value_parser = percent)]
    pub level: f64,
    /// Draw history and forecast; with several, the name of each is added to the file's
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Write the forecast as CSV: time,series,target,forecast,lower,upper
    #[arg(long, value_name = "FILE.csv")]
    pub out: Option<PathBuf>,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}

impl RunVerb for Forecast {
    /// Reads a table, forecasts it, prints the forecast, writes and draws it where asked.
    fn run(&self, context: &mut VerbContext<'_>) -> Result<()> {
        // The table first: a mistake in it should not have to wait for a download.
        let series = table(self).read()?;
        let model = context.model(&self.model, MODALITY, "forecasts nothing", "time series")?;
        let device = dispatch::available(self.device)?;
        let request = ForecastRequest {
            model: open_forecaster(&model.path, device).map_err(Failure::Error)?,
            series,
            horizon: self.horizon as usize,
            level: self.level / 100.0,
        };
        let tables = request.run()?;
        write!(context.out, "{}", terminal(&tables))?;
        if let Some(path) = &self.out {
            write_file(path, &csv(&tables))?;
            tracing::info!("wrote {}", path.display());
        }
        if let Some(path) = &self.plot {
            for (path, svg) in plots(path, &tables) {
                write_file(&path, &svg)?;
                tracing::info!("drew {}", path.display());
            }
        }
        Ok(())
    }
}

/// A percentage strictly between 0 and 100.
fn percent(text: &str) -> std::result::Result<f64, String> {
    match text.trim().trim_end_matches('%').trim().parse::<f64>() {
        Ok(value) if value > 0.0 && value < 100.0 => Ok(value),
        _ => Err("expected a percentage above 0 and below 100, such as 80".into()),
    }
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
    use crate::forecast::TargetForecast;

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
    fn lists_are_typed_once_or_several_times() {
        let line = "forecast --model m --input i.csv --target a --target b --known c,d --horizon 3 \
                    --level 90%";
        let forecast = Forecast::try_parse_from(line.split_whitespace()).unwrap();
        assert_eq!(forecast.targets, ["a", "b"]);
        assert_eq!(forecast.known, ["c", "d"]);
        assert_eq!((forecast.horizon, forecast.level), (3, 90.0));
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
