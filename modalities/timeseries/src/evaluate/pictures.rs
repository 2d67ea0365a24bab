//! Pictures of a few windows of an evaluation.

use super::{
    case::Case,
    protocol::{Protocol, Window},
};
use crate::{forecast::intervals::interval, forecaster::Forecast, plot::ForecastPlot};
use kiln_metrics::baselines::{Baseline, SeasonalNaive};
use kiln_train::results::{Section, SectionBody};
use ndarray::s;

/// The level of the intervals drawn.
const LEVEL: f64 = 0.8;

/// Which of `windows` are shown: `count` of them, evenly spread, not the luckiest.
pub(super) fn chosen(windows: usize, count: usize) -> Vec<usize> {
    let count = count.min(windows);
    (0..count).map(|place| (2 * place + 1) * windows / (2 * count)).collect()
}

/// The picture of a window, in the data's own units; each shows another target.
pub(super) fn picture(
    place: usize,
    window: Window,
    forecast: &Forecast,
    cases: &[Case],
    protocol: &Protocol,
    levels: &[f64],
) -> Option<Section> {
    let case = cases.get(window.case)?;
    let (series, horizon) = (&case.series, protocol.horizon);
    let targets = series.targets();
    if targets == 0 {
        return None;
    }
    // From the last target backwards: in ETT that is the one the data set is about.
    let channel = targets - 1 - place % targets;
    let name = series.channels.get(channel).map_or("", String::as_str);
    let unit = case.unit(channel);
    let original = |value: f32| unit.original(f64::from(value)) as f32;
    let rows = (3 * horizon).max(2 * protocol.season).max(40);
    let first = window.origin.saturating_sub(rows);
    let past = series.values.column(channel).slice(s![..window.origin]).mapv(original).to_vec();
    let seen = protocol.baseline_context.map_or(0, |rows| window.origin.saturating_sub(rows));
    let naive = SeasonalNaive.forecast(past.get(seen..)?, horizon, protocol.season);
    let band = forecast.quantiles.as_ref().and_then(|quantiles| {
        let ends = (0..quantiles.dim().0).map(|step| {
            let values = quantiles.slice(s![step, channel, ..]).to_vec();
            let (lower, upper) = interval(levels, &values, LEVEL)?;
            Some((original(lower), original(upper)))
        });
        let (lower, upper): (Vec<_>, Vec<_>) =
            ends.collect::<Option<Vec<_>>>()?.into_iter().unzip();
        Some((lower, upper, format!("{:.0} % interval", 100.0 * LEVEL)))
    });
    let plot = ForecastPlot {
        title: if name == series.id {
            series.id.clone()
        } else {
            format!("{} · {name}", series.id)
        },
        y_label: String::new(),
        history: past.get(first..)?.to_vec(),
        start: series.start.and_then(|start| series.frequency.after(start, first as u64)),
        first_row: first,
        frequency: series.frequency,
        forecast: forecast.point.column(channel).iter().copied().map(original).collect(),
        band,
        truth: case.truth(window.origin, channel, horizon).into_iter().map(original).collect(),
        others: vec![("seasonal-naive".into(), naive)],
    };
    Some(Section {
        title: format!("{}: a forecast of {horizon} rows", protocol.dataset),
        caption: format!(
            "Window {} of those chosen at even distances, not by how well they went.",
            place + 1
        ),
        body: SectionBody::Svg(plot.svg()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_evenly_spread() {
        assert_eq!(chosen(100, 2), [25, 75]);
        assert_eq!(chosen(1, 3), [0]);
        assert!(chosen(0, 3).is_empty() && chosen(9, 0).is_empty());
    }
}
