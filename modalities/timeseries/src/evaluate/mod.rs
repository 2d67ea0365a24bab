//! A forecaster and the baselines on the same windows of the same series.
//!
//! The long-term forecasting protocol (since Informer, <https://arxiv.org/abs/2012.07436>): every
//! window of the test part, `mse` and `mae` on values standardised by the training part, averaged
//! over windows, steps and channels. M4's: one forecast a series from its end, `smape` and `mase`
//! averaged over series. Which it is, is a matter of [`Case`]s and a [`Protocol`].
//!
//! `mse`, `mae` and `mase` are measured on values as the forecaster sees them, `smape` and `wql`
//! in the data's own units, where ratios mean something. A baseline's `wql` takes its one number
//! for every level.

mod case;
mod pictures;
mod protocol;
mod tally;

pub use case::Case;
pub use protocol::{Average, Protocol};

use crate::forecaster::{ForecastError, Forecaster, History};
use kiln_metrics::{
    baselines,
    forecast::{Coverage, PointScores, Unit},
};
use kiln_train::{
    progress::Progress,
    results::{Evaluation, ResultRow, Section, SectionBody},
};
use ndarray::s;
use protocol::Window;
use rayon::prelude::*;
use tally::Tally;

/// Measures a forecaster beside all baselines.
///
/// Windows in which a target has no value in all the history that the model would see are left
/// out for everyone. Metrics without a single scored value have no row.
///
/// # Errors
/// When the forecaster fails, or gives a number that is not finite.
pub fn evaluate(
    forecaster: &dyn Forecaster,
    cases: &[Case],
    protocol: &Protocol,
) -> Result<Evaluation, ForecastError> {
    let context = forecaster.context();
    let all = cases.iter().enumerate().flat_map(|(case, each)| {
        each.origins.iter().map(move |origin| Window { case, origin: *origin })
    });
    let (windows, silent): (Vec<_>, Vec<_>) = all.partition(|window| {
        cases.get(window.case).is_some_and(|case| case.has_history(window.origin, context))
    });
    if !silent.is_empty() {
        tracing::warn!(
            "{}: {} of {} windows left out, a channel has no value in their history",
            protocol.dataset,
            silent.len(),
            silent.len() + windows.len()
        );
    }

    let progress = Progress::new(&format!("{} model", protocol.dataset), windows.len(), "windows");
    let chosen = pictures::chosen(windows.len(), protocol.pictures);
    let mut shown = Vec::new();
    let levels = forecaster.quantile_levels().to_vec();
    let mut model = Tally::new(cases.len(), &levels);
    let batch = protocol.batch.max(1);
    for (number, group) in windows.chunks(batch).enumerate() {
        let histories: Vec<History> = group
            .iter()
            .filter_map(|w| cases.get(w.case)?.history(w.origin, context, protocol.horizon))
            .collect();
        let forecasts = forecaster.forecast(&histories, protocol.horizon)?;
        if forecasts.len() != group.len() {
            let fault = format!("{} forecasts for {} histories", forecasts.len(), group.len());
            return Err(ForecastError::Model(fault));
        }
        for (place, (window, forecast)) in group.iter().zip(forecasts).enumerate() {
            if let Some(case) = cases.get(window.case) {
                forecast.check(protocol.horizon, case.series.targets(), levels.len())?;
                model.add(window.case, case, window.origin, &forecast, protocol.mase_season);
            }
            let place = number * batch + place;
            if chosen.contains(&place) {
                shown.push((*window, forecast));
            }
        }
        progress.advance(group.len());
    }
    progress.finish();

    let progress =
        Progress::new(&format!("{} baselines", protocol.dataset), windows.len(), "windows");
    let scores: Vec<_> = windows
        .par_iter()
        .map(|window| {
            let scores =
                cases.get(window.case).map(|case| baseline_scores(case, *window, protocol));
            progress.advance(1);
            (window.case, scores)
        })
        .collect();
    progress.finish();
    // One after the other, so that the sums do not depend on which thread was quicker.
    let mut tallies =
        baselines::all().map(|baseline| (baseline.name(), Tally::new(cases.len(), &[])));
    for (case, scores) in scores {
        for ((_, tally), scores) in tallies.iter_mut().zip(scores.iter().flatten()) {
            tally.merge(case, scores);
        }
    }

    let mut sections: Vec<_> = calibration(&model, protocol).into_iter().collect();
    sections.extend(shown.iter().enumerate().filter_map(|(place, (window, forecast))| {
        pictures::picture(place, *window, forecast, cases, protocol, &levels)
    }));
    Ok(Evaluation { rows: rows(&model, &tallies, protocol), sections })
}

/// The scores of each baseline on one window.
fn baseline_scores(case: &Case, window: Window, protocol: &Protocol) -> Vec<PointScores> {
    let from = protocol.baseline_context.map_or(0, |rows| window.origin.saturating_sub(rows));
    let mut all = vec![PointScores::default(); baselines::all().len()];
    for channel in 0..case.series.targets() {
        let column = case.series.values.column(channel);
        let history = column.slice(s![from.min(window.origin)..window.origin]).to_vec();
        let truth = case.truth(window.origin, channel, protocol.horizon);
        let scale = case.scale(channel, protocol.mase_season);
        let unit: Unit = case.unit(channel);
        for (scores, baseline) in all.iter_mut().zip(baselines::all()) {
            let forecast = baseline.forecast(&history, protocol.horizon, protocol.season);
            for (truth, forecast) in truth.iter().zip(forecast) {
                scores.add(f64::from(*truth), f64::from(forecast), scale, unit);
            }
        }
    }
    all
}

fn rows(model: &Tally, baselines: &[(&str, Tally)], protocol: &Protocol) -> Vec<ResultRow> {
    let metrics = ["mse", "mae", "smape", "mase", "wql"];
    let row = |metric: &str| {
        let value =
            if metric == "wql" { model.wql()? } else { model.metric(metric, protocol.average)? };
        let baseline = |(name, tally): &(&str, Tally)| {
            let value = tally.metric(metric, protocol.average)?;
            Some(((*name).to_string(), value))
        };
        Some(ResultRow {
            task: protocol.task(),
            dataset: protocol.dataset.clone(),
            split: protocol.split.clone(),
            metric: metric.into(),
            value,
            baselines: baselines.iter().filter_map(baseline).collect(),
        })
    };
    metrics.into_iter().filter_map(row).collect()
}

/// How often the truth fell into the model's intervals.
fn calibration(model: &Tally, protocol: &Protocol) -> Option<Section> {
    let share = |share: f64| format!("{:.1} %", 100.0 * share);
    let row = |(nominal, coverage): &(f64, Coverage)| {
        coverage.value().map(|found| vec![share(*nominal), share(found)])
    };
    let rows: Vec<_> = model.coverage.iter().filter_map(row).collect();
    (!rows.is_empty()).then(|| Section {
        title: format!("{}: are the intervals right?", protocol.dataset),
        caption: "The share of true values inside the interval should be the share it promises."
            .into(),
        body: SectionBody::Table {
            head: vec!["interval promises".into(), "true values inside".into()],
            rows,
        },
    })
}

#[cfg(test)]
mod tests;
