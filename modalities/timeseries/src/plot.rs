//! Pictures of forecasts.

use chrono::NaiveDateTime;
use kiln_datasets::Frequency;
use kiln_train::report::chart::{Band, COLOURS, Chart, Line, XAxis};

/// The colour of what happened; pages may lighten it in dark mode.
const TRUTH: &str = "#5b626b";

/// One channel's history and forecast, in the units of the data.
#[derive(Clone, Debug, Default)]
pub struct ForecastPlot {
    /// Above the picture.
    pub title: String,
    /// What the values are; empty for nothing.
    pub y_label: String,
    /// `[time]`, NaN where missing: as much of the past as should be seen.
    pub history: Vec<f32>,
    /// The time of the first row of `history`.
    pub start: Option<NaiveDateTime>,
    /// The number of that row, shown where there are no times.
    pub first_row: usize,
    /// The distance between rows.
    pub frequency: Frequency,
    /// `[horizon]`
    pub forecast: Vec<f32>,
    /// `[horizon]` each, lower and upper, and what the band is: `80 % interval`.
    pub band: Option<(Vec<f32>, Vec<f32>, String)>,
    /// `[horizon]` or shorter, where it is known.
    pub truth: Vec<f32>,
    /// `[horizon]` each, with their names: baselines.
    pub others: Vec<(String, Vec<f32>)>,
}

impl ForecastPlot {
    /// The picture as a complete `<svg>` element.
    pub fn svg(&self) -> String {
        let end = self.history.len();
        let dated = self.at(0).is_some() && self.at(end + self.forecast.len()).is_some();
        let x = |row: usize| match self.at(row) {
            Some(time) if dated => time.and_utc().timestamp() as f64,
            _ => (self.first_row + row) as f64,
        };
        let line = |label: &str, colour, dashed, from: usize, values: &[f32]| {
            let points = values.iter().enumerate();
            let points = points.map(|(row, value)| (x(from + row), f64::from(*value))).collect();
            Line { label: label.into(), colour, dashed, points }
        };
        // Lines of the future start at the last value known, so that they hang together.
        let joined = |values: &[f32]| match self.history.last().filter(|value| value.is_finite()) {
            Some(last) if !values.is_empty() => {
                let values: Vec<_> = std::iter::once(*last).chain(values.iter().copied()).collect();
                (end - 1, values)
            }
            _ => (end, values.to_vec()),
        };
        let mut lines = vec![line("history", TRUTH, false, 0, &self.history)];
        let (from, truth) = joined(&self.truth);
        if !truth.is_empty() {
            lines.push(line("what happened", TRUTH, true, from, &truth));
        }
        for (place, (name, values)) in self.others.iter().enumerate() {
            let colour = COLOURS.get(1 + place % (COLOURS.len() - 1)).copied().unwrap_or(TRUTH);
            lines.push(line(name, colour, true, end, values));
        }
        let (from, forecast) = joined(&self.forecast);
        lines.push(line("forecast", COLOURS[0], false, from, &forecast));
        let bands = self.band.iter().map(|(lower, upper, label)| Band {
            label: label.clone(),
            colour: COLOURS[0],
            points: lower
                .iter()
                .zip(upper)
                .enumerate()
                .map(|(row, (lower, upper))| (x(end + row), f64::from(*lower), f64::from(*upper)))
                .collect(),
        });
        let chart = Chart {
            title: self.title.clone(),
            size: (860.0, 340.0),
            x: if dated { XAxis::Time } else { XAxis::Number("row".into()) },
            y_label: self.y_label.clone(),
            y_log: false,
            bands: bands.collect(),
            lines,
            marks: if end > 0 { vec![(x(end - 1), String::new())] } else { Vec::new() },
        };
        chart.svg()
    }

    fn at(&self, row: usize) -> Option<NaiveDateTime> {
        self.start.and_then(|start| self.frequency.after(start, row as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;

    fn plot() -> ForecastPlot {
        ForecastPlot {
            title: "sales".into(),
            history: vec![1.0, 2.0, f32::NAN, 4.0],
            start: NaiveDate::from_ymd_opt(2024, 1, 30).and_then(|day| day.and_hms_opt(0, 0, 0)),
            frequency: Frequency::DAILY,
            forecast: vec![5.0, 6.0],
            band: Some((vec![4.0, 4.5], vec![6.0, 7.5], "80 % interval".into())),
            truth: vec![5.5],
            others: vec![("seasonal-naive".into(), vec![4.0, 4.0])],
            ..ForecastPlot::default()
        }
    }

    #[test]
    fn a_picture_has_dates_and_a_legend() {
        let svg = plot().svg();
        for part in
            ["history", "forecast", "80 % interval", "what happened", "seasonal-naive", "1 Feb"]
        {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn rows_are_numbered_without_dates() {
        let svg = ForecastPlot { start: None, first_row: 100, ..plot() }.svg();
        assert!(svg.contains(">row<") && svg.contains(">102<"), "{svg}");
    }

    #[test]
    fn nothing_at_all_is_a_picture_too() {
        assert!(ForecastPlot::default().svg().contains("nothing to draw"));
    }
}
