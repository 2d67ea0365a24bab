//! Sources of training windows: cut from series at hand, or generated.

use crate::{SeriesHostBatch, config::resolution_id};
use kiln_core::{Seed, Size, Source};
use kiln_datasets::{Frequency, Series, SplitPart};
use kiln_synthetic::Corpus;
use kiln_train::task::TaskSourceError;
use ndarray::{Array2, Array3, Axis, s};
use rand::RngExt;
use std::ops::Range;

/// A window: what is seen, and what comes after.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// `[context, channels]`; NaN where a value is missing or before the series begins.
    pub past: Array2<f32>,
    /// `[horizon, channels]`; NaN where a value is missing.
    pub future: Array2<f32>,
    /// The last this many channels are covariates whose future is known.
    pub known: usize,
    /// The distance between rows.
    pub frequency: Frequency,
    /// Which series it was cut from.
    pub series: u32,
    /// The group of that series.
    pub group: u32,
}

impl Window {
    /// Cuts the window whose forecast begins at row `origin`. A history shorter than the context
    /// begins with missing values.
    pub fn cut(
        series: &Series,
        number: u32,
        origin: usize,
        context: usize,
        horizon: usize,
    ) -> Self {
        let (rows, channels) = series.values.dim();
        let origin = origin.min(rows);
        let mut past = Array2::from_elem((context, channels), f32::NAN);
        let history = origin.min(context);
        past.slice_mut(s![context - history.., ..])
            .assign(&series.values.slice(s![origin - history..origin, ..]));
        let mut future = Array2::from_elem((horizon, channels), f32::NAN);
        let ahead = horizon.min(rows - origin);
        future
            .slice_mut(s![..ahead, ..])
            .assign(&series.values.slice(s![origin..origin + ahead, ..]));
        Self {
            past,
            future,
            known: series.known,
            frequency: series.frequency,
            series: number,
            group: series.group.unwrap_or(0),
        }
    }
}

/// Puts windows of the same shape together. `resolutions` is how many ids of resolutions the model
/// tells apart, 0 for none.
pub fn collate(windows: &[Window], resolutions: usize) -> SeriesHostBatch {
    let stack = |pick: fn(&Window) -> &Array2<f32>| -> Array3<f32> {
        let (rows, channels) = windows.first().map_or((0, 0), |window| pick(window).dim());
        let mut all = Array3::from_elem((windows.len(), rows, channels), f32::NAN);
        for (window, mut place) in windows.iter().zip(all.axis_iter_mut(Axis(0))) {
            place.assign(pick(window));
        }
        all
    };
    let ids = |pick: fn(&Window) -> u32| Some(windows.iter().map(pick).collect());
    SeriesHostBatch {
        past: stack(|window| &window.past),
        future: Some(stack(|window| &window.future)),
        known: windows.first().map_or(0, |window| window.known),
        resolution: (resolutions > 0).then(|| {
            windows.iter().map(|window| resolution_id(window.frequency, resolutions)).collect()
        }),
        series: ids(|window| window.series),
        group: ids(|window| window.group),
    }
}

/// Windows cut from series, one a row where one fits.
#[derive(Debug)]
pub struct SeriesWindows {
    series: Vec<Series>,
    /// For each series, how many windows come before its own, and its first forecast rows.
    spans: Vec<(u64, Range<usize>)>,
    total: u64,
    /// How many windows apart those are that are used.
    stride: u64,
    context: usize,
    horizon: usize,
}

impl SeriesWindows {
    /// Windows whose forecast lies in `parts`, one part a series, looking back up to `context`
    /// rows. Of a part that is too short for a full context, windows with half a history and more
    /// are taken. With a `share` below 1 only the latest windows are.
    pub fn new(
        series: Vec<Series>,
        parts: &[SplitPart],
        context: usize,
        horizon: usize,
        share: f64,
        borrow: bool,
    ) -> Self {
        let mut spans = Vec::with_capacity(series.len());
        let mut total = 0;
        for (each, part) in series.iter().zip(parts) {
            let end = part.rows.end.min(each.len());
            let begin = if borrow { 0 } else { part.rows.start };
            let room = (end - begin.min(end)).saturating_sub(horizon);
            let history = if room >= context { context } else { (room / 2).max(1) };
            let first = (begin + history).max(if borrow { part.rows.start } else { 0 });
            let last = (end + 1).saturating_sub(horizon);
            let mut origins = first..last.max(first);
            let keep = (origins.len() as f64 * share.clamp(0.0, 1.0)).ceil() as usize;
            origins.start = origins.end - keep.min(origins.len());
            spans.push((total, origins.clone()));
            total += origins.len() as u64;
        }
        Self { series, spans, total, stride: 1, context, horizon }
    }

    /// Keeps this share of the windows, evenly spread.
    pub fn spread(self, share: f64) -> Self {
        let stride = (1.0 / share.clamp(1e-9, 1.0)).round() as u64;
        Self { stride: stride.clamp(1, self.total.max(1)), ..self }
    }

    /// How many windows there are.
    pub fn len(&self) -> u64 {
        self.total.div_ceil(self.stride)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The window of an index below [`Self::len`].
    pub fn window(&self, index: u64) -> Option<Window> {
        let index = index.checked_mul(self.stride)?;
        let place = self.spans.partition_point(|(before, _)| *before <= index).checked_sub(1)?;
        let (before, origins) = self.spans.get(place)?;
        let origin = origins.start + usize::try_from(index - before).ok()?;
        if origin >= origins.end {
            return None;
        }
        let series = self.series.get(place)?;
        Some(Window::cut(series, place as u32, origin, self.context, self.horizon))
    }

    /// Up to `count` windows, evenly spread.
    pub fn sample(&self, count: usize) -> Vec<Window> {
        let count = (count as u64).min(self.len());
        (0..count).filter_map(|n| self.window(n * self.len() / count.max(1))).collect()
    }
}

/// An index beyond the last window: the sampler never asks for one.
#[derive(Debug, thiserror::Error)]
#[error("there is no window {0}")]
struct NoWindow(u64);

impl Source for SeriesWindows {
    type Example = Window;
    type Error = TaskSourceError;

    fn size(&self) -> Size {
        Size::Known(self.len())
    }

    fn example(&self, index: u64) -> Result<Window, TaskSourceError> {
        self.window(index).ok_or_else(|| TaskSourceError(Box::new(NoWindow(index))))
    }
}

/// Windows of a generated corpus, a new series each.
#[derive(Debug, Clone)]
pub struct GeneratedWindows {
    /// What is generated.
    pub corpus: Corpus,
    /// All series follow from it.
    pub seed: Seed,
    /// Rows seen.
    pub context: usize,
    /// Rows that come after.
    pub horizon: usize,
    /// The share of windows whose history is cut short.
    pub short_histories: f64,
}

impl GeneratedWindows {
    /// The window of an index.
    pub fn window(&self, index: u64) -> Window {
        let series = self.corpus.series(self.seed, index);
        let mut window = Window::cut(&series, 0, self.context, self.context, self.horizon);
        let mut rng = self.seed.part("short").at(index).rng();
        if rng.random::<f64>() < self.short_histories {
            // At least a sixteenth is left, and more lengths are short than long.
            let left: f64 = rng.random_range(0.0625f64.ln()..0.0);
            let cut = self.context - ((self.context as f64 * left.exp()) as usize).max(1);
            window.past.slice_mut(s![..cut, ..]).fill(f32::NAN);
        }
        leave_out_surprises(&mut window);
        window
    }
}

/// How far from the mean of its history, in standard deviations, a value may be to be scored.
const SURPRISE: f32 = 12.0;

/// Marks values of the future as missing that are out of all proportion to the history: after a
/// flat history, the scaled error of a single window would outweigh all others of its batch.
fn leave_out_surprises(window: &mut Window) {
    for (past, mut future) in window.past.columns().into_iter().zip(window.future.columns_mut()) {
        let seen = || past.iter().filter(|value| value.is_finite());
        let count = seen().count().max(1) as f32;
        let mean = seen().sum::<f32>() / count;
        let deviation = (seen().map(|value| (value - mean).powi(2)).sum::<f32>() / count).sqrt();
        for value in &mut future {
            if (*value - mean).abs() > SURPRISE * deviation {
                *value = f32::NAN;
            }
        }
    }
}

impl Source for GeneratedWindows {
    type Example = Window;
    type Error = TaskSourceError;

    fn size(&self) -> Size {
        Size::Endless
    }

    fn example(&self, index: u64) -> Result<Window, TaskSourceError> {
        Ok(self.window(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(rows: usize) -> Series {
        Series::univariate("s", (0..rows).map(|row| row as f32).collect(), Frequency::DAILY)
    }

    #[test]
    fn a_short_history_begins_with_missing_values() {
        let window = Window::cut(&counting(6), 0, 2, 4, 3);
        let past = window.past.column(0).to_vec();
        assert!(past[0].is_nan() && past[1].is_nan());
        assert_eq!(past[2..], [0.0, 1.0]);
        assert_eq!(window.future.column(0).to_vec(), [2.0, 3.0, 4.0]);
        assert!(Window::cut(&counting(3), 0, 2, 2, 2).future[(1, 0)].is_nan());
    }

    #[test]
    fn every_window_of_the_training_part_once() {
        let parts = [SplitPart { rows: 0..8 }, SplitPart { rows: 0..5 }];
        let windows = SeriesWindows::new(vec![counting(10), counting(5)], &parts, 3, 2, 1.0, false);
        // Forecasts begin at rows 3 to 6 of the first, at row 3 of the second.
        assert_eq!(windows.len(), 5);
        let starts: Vec<f32> = (0..5).map(|n| windows.window(n).unwrap().future[(0, 0)]).collect();
        assert_eq!(starts, [3.0, 4.0, 5.0, 6.0, 3.0]);
        assert!(windows.window(5).is_none());
        let few = SeriesWindows::new(vec![counting(10)], &parts[..1], 3, 2, 0.5, false);
        assert_eq!(few.window(0).unwrap().future[(0, 0)], 5.0, "the latest windows");
        let spread = windows.spread(0.5);
        let starts: Vec<f32> =
            (0..spread.len()).map(|n| spread.window(n).unwrap().future[(0, 0)]).collect();
        assert_eq!(starts, [3.0, 5.0, 3.0]);
    }

    #[test]
    fn validation_windows_look_back_into_training() {
        let parts = [SplitPart { rows: 6..9 }];
        let windows = SeriesWindows::new(vec![counting(10)], &parts, 4, 2, 1.0, true);
        assert_eq!(windows.len(), 2);
        assert_eq!(windows.window(0).unwrap().past.column(0).to_vec(), [2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn series_too_short_for_a_context_are_used() {
        let windows = SeriesWindows::new(
            vec![counting(10)],
            &[SplitPart { rows: 0..10 }],
            100,
            2,
            1.0,
            false,
        );
        assert_eq!(windows.len(), 5, "from half a history on");
    }

    #[test]
    fn futures_out_of_proportion_are_not_scored() {
        let mut window = Window::cut(&counting(6), 0, 4, 4, 2);
        // A history of 0 to 3 has mean 1.5 and deviation 1.12.
        window.future[(1, 0)] = 100.0;
        leave_out_surprises(&mut window);
        assert!(window.future[(0, 0)] == 4.0 && window.future[(1, 0)].is_nan());
        window.past.fill(7.0);
        leave_out_surprises(&mut window);
        assert!(window.future[(0, 0)].is_nan(), "a flat history tells of nothing else");
    }

    #[test]
    fn generated_windows_depend_on_seed_and_index_alone() {
        let corpus = Corpus { length: 48, ..Corpus::default() };
        let windows = GeneratedWindows {
            corpus,
            seed: Seed::new(3),
            context: 32,
            horizon: 16,
            short_histories: 1.0,
        };
        let (a, b) = (windows.window(5), windows.window(5));
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
        assert!(a.past[(0, 0)].is_nan() && a.past[(31, 0)].is_finite());
    }
}
