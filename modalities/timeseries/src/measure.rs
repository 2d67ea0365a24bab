//! A recipe's evaluation: which series, which windows, beside which baselines.

use crate::{
    data::{log_returns, read_table},
    evaluate::{Average, Case, Protocol, evaluate},
    forecaster::{ForecastError, Forecaster, History},
    portfolio,
    recipe::{
        EmbeddedEvaluation, M4Evaluation, PortfolioEvaluation, SeriesEvaluation, TableEvaluation,
    },
};
use kiln_core::{
    Seed,
    blame::{Blame, Blamed},
};
use kiln_datasets::{DataError, embedded, files::locate, m4};
use kiln_train::results::Evaluation;
use ndarray::{Array2, s};

/// Windows a call of the model.
const BATCH: usize = 64;
/// Windows shown as pictures, a data set.
const PICTURES: usize = 3;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The data could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model could not forecast it.
    #[error("{dataset}: {source}")]
    Forecast {
        /// The data set.
        dataset: String,
        /// Why.
        #[source]
        source: ForecastError,
    },
}

impl Blamed for MeasureError {
    fn blame(&self) -> Blame<'_> {
        match self {
            Self::Data(_) => Blame::User,
            Self::Forecast { .. } => Blame::Cause,
        }
    }
}

/// Measures a forecaster by one evaluation of a recipe.
///
/// # Errors
/// When data cannot be read, or the forecaster fails.
pub fn measure(
    forecaster: &dyn Forecaster,
    evaluation: &SeriesEvaluation,
    seed: Seed,
) -> Result<Evaluation, MeasureError> {
    match evaluation {
        SeriesEvaluation::Table(table) => measure_table(forecaster, table),
        SeriesEvaluation::M4(m4) => measure_m4(forecaster, m4),
        SeriesEvaluation::Embedded(embedded) => measure_embedded(forecaster, embedded),
        SeriesEvaluation::Portfolio(portfolio) => measure_portfolio(forecaster, portfolio, seed),
    }
}

/// Reads what an evaluation reads, so that a mistake is found before hours of training.
///
/// # Errors
/// When data cannot be read.
pub fn check(evaluation: &SeriesEvaluation) -> Result<(), MeasureError> {
    match evaluation {
        SeriesEvaluation::Table(table) => {
            for series in read_table(&table.source)? {
                table.split.split(&series)?;
            }
        }
        SeriesEvaluation::M4(m4) => {
            m4::read_pair(&locate(&m4.train)?, &locate(&m4.test)?, m4.frequency)?;
        }
        SeriesEvaluation::Embedded(settings) => {
            for name in &settings.names {
                embedded::named(name)?;
            }
        }
        SeriesEvaluation::Portfolio(portfolio) => portfolio.market.validate()?,
    }
    Ok(())
}

fn failed(dataset: &str) -> impl Fn(ForecastError) -> MeasureError + use<'_> {
    move |source| MeasureError::Forecast { dataset: dataset.to_owned(), source }
}

fn measure_table(
    forecaster: &dyn Forecaster,
    table: &TableEvaluation,
) -> Result<Evaluation, MeasureError> {
    let mut cases = Vec::new();
    let mut frequency = kiln_datasets::Frequency::Unknown;
    for series in read_table(&table.source)? {
        frequency = series.frequency;
        let split = table.split.split(&series)?;
        // As in the benchmarks, whose windows look back over the border of the test part.
        let window = (forecaster.context().min(split.test.rows.start), table.horizon);
        let test = split.test.clone();
        cases.push(Case::rolling(series, &split, &test, window, table.stride, table.standardise));
    }
    let season = table.season.unwrap_or_else(|| frequency.season());
    let protocol = Protocol {
        baseline_context: Some(forecaster.context()),
        ..on_test_split(&table.name, table.horizon, season)
    };
    evaluate(forecaster, &cases, &protocol).map_err(failed(&table.name))
}

/// How most data are measured: errors averaged over values, baselines that see all rows.
fn on_test_split(dataset: &str, horizon: usize, season: usize) -> Protocol {
    Protocol {
        dataset: dataset.into(),
        split: "test".into(),
        horizon,
        season,
        mase_season: season,
        average: Average::Values,
        baseline_context: None,
        batch: BATCH,
        pictures: PICTURES,
    }
}

fn measure_m4(forecaster: &dyn Forecaster, m4: &M4Evaluation) -> Result<Evaluation, MeasureError> {
    let pairs = m4::read_pair(&locate(&m4.train)?, &locate(&m4.test)?, m4.frequency)?;
    let horizon = pairs.iter().map(|pair| pair.future.len()).max().unwrap_or(0);
    let cases: Vec<_> = pairs.into_iter().map(Case::held_out).collect();
    let protocol =
        Protocol { average: Average::Series, ..on_test_split(&m4.name, horizon, m4.season) };
    evaluate(forecaster, &cases, &protocol).map_err(failed(&m4.name))
}

fn measure_embedded(
    forecaster: &dyn Forecaster,
    settings: &EmbeddedEvaluation,
) -> Result<Evaluation, MeasureError> {
    let sets = embedded::chosen(&settings.names)?;
    let mut all = Evaluation::default();
    for set in sets {
        let horizon = set.horizon.min(forecaster.horizon());
        let cases = set
            .series
            .into_iter()
            .map(|series| {
                let rows = series.len();
                let origins: Vec<_> = (1..=settings.windows)
                    .rev()
                    .filter_map(|back| rows.checked_sub(back * horizon))
                    // At least two seasons of history, so that every baseline has a chance.
                    .filter(|origin| *origin >= (2 * set.season).max(8))
                    .collect();
                let train = 0..origins.first().copied().unwrap_or(rows);
                Case::new(series, train, origins)
            })
            .collect::<Vec<_>>();
        let protocol = Protocol { pictures: 1, ..on_test_split(&set.name, horizon, set.season) };
        let one = evaluate(forecaster, &cases, &protocol).map_err(failed(&set.name))?;
        all.rows.extend(one.rows);
        all.sections.extend(one.sections);
    }
    Ok(all)
}

fn measure_portfolio(
    forecaster: &dyn Forecaster,
    settings: &PortfolioEvaluation,
    seed: Seed,
) -> Result<Evaluation, MeasureError> {
    let stocks = log_returns(&settings.market, seed)?;
    let days = stocks.iter().map(kiln_datasets::Series::len).min().unwrap_or(0);
    let split = match stocks.first() {
        Some(first) => settings.split.split(first)?,
        None => return Ok(Evaluation::default()),
    };
    let test = split.test.rows.start.max(1)..split.test.rows.end.min(days);
    let mut predicted = Array2::from_elem((test.len(), stocks.len()), f32::NAN);
    let mut realised = predicted.clone();
    for (row, day) in test.enumerate() {
        let histories: Vec<_> = stocks
            .iter()
            .map(|stock| History {
                past: stock
                    .values
                    .slice(s![day.saturating_sub(forecaster.context())..day, ..])
                    .to_owned(),
                future: None,
                known: 0,
                frequency: stock.frequency,
            })
            .collect();
        let forecasts = forecaster.forecast(&histories, 1).map_err(failed("generated-prices"))?;
        for (column, (forecast, stock)) in forecasts.iter().zip(&stocks).enumerate() {
            // Models see log returns, portfolios earn simple ones.
            predicted[(row, column)] = forecast.point[(0, 0)].exp_m1();
            realised[(row, column)] = stock.values[(day, 0)].exp_m1();
        }
    }
    let rows = portfolio::evaluate(
        "generated-prices",
        "test",
        predicted.view(),
        realised.view(),
        settings.top,
        seed,
    );
    Ok(Evaluation { rows, sections: Vec::new() })
}
