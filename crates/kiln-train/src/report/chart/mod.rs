//! Line charts as SVG: curves of a run, forecasts, whatever goes over time or steps.
//!
//! Written out by hand instead of through a plotting crate: a chart is a few kilobytes, its text
//! is real text in the reader's own sans-serif, and its parts carry classes (`kc-ground`,
//! `kc-ink`, `kc-grid`, `kc-muted`) that a page may recolour, for dark mode say. On its own it is
//! dark on white. Colours are Okabe and Ito's, which colour-blind readers can tell apart.

mod draw;
mod legend;
mod ticks;

use std::fmt::Write as _;

/// Colours by place: blue, vermilion, green, purple, orange, sky blue; then from the start.
pub const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// The width of a character at the size of labels, on average, in pixels.
const CHARACTER: f64 = 6.9;

/// A chart: filled bands below, lines above, a title and a legend on top.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above the picture; empty for none.
    pub title: String,
    /// In pixels, for the whole picture.
    pub size: (f64, f64),
    /// What runs from left to right.
    pub x: XAxis,
    /// What the values are, with their unit; empty for none.
    pub y_label: String,
    /// Whether equal ratios are equally far apart; values that are not positive are left out.
    pub y_log: bool,
    /// Filled areas.
    pub bands: Vec<Band>,
    /// Lines, later ones above.
    pub lines: Vec<Line>,
    /// A dashed vertical line and its label: where the forecast starts, where a stage ends.
    pub marks: Vec<(f64, String)>,
}

impl Default for Chart {
    fn default() -> Self {
        Self {
            title: String::new(),
            size: (760.0, 300.0),
            x: XAxis::Number(String::new()),
            y_label: String::new(),
            y_log: false,
            bands: Vec::new(),
            lines: Vec::new(),
            marks: Vec::new(),
        }
    }
}

/// What runs from left to right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XAxis {
    /// Numbers: steps, rows. The name is written below.
    Number(String),
    /// Seconds since 1970 without a time zone, written as dates and times.
    Time,
}

/// A line; gaps where a value is not finite.
#[derive(Clone, Debug)]
pub struct Line {
    /// In the legend; empty to leave it out.
    pub label: String,
    /// A colour as CSS has it.
    pub colour: &'static str,
    /// Whether it is dashed.
    pub dashed: bool,
    /// `(x, y)` in rising `x`.
    pub points: Vec<(f64, f64)>,
}

/// An area between two values.
#[derive(Clone, Debug)]
pub struct Band {
    /// In the legend; empty to leave it out.
    pub label: String,
    /// A colour as CSS has it, drawn at a fifth of its strength.
    pub colour: &'static str,
    /// `(x, lower, upper)` in rising `x`.
    pub points: Vec<(f64, f64, f64)>,
}

/// Text as XML content or attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Characters that XML 1.0 does not allow at all.
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A coordinate with one decimal at most.
fn coordinate(out: &mut String, value: f64) {
    let rounded = (value * 10.0).round() / 10.0;
    // Writing to a string cannot fail.
    let _ = write!(out, "{}", if rounded == 0.0 { 0.0 } else { rounded });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a<b> & \"c\"\u{7}"), "a&lt;b&gt; &amp; &quot;c&quot; ");
        let chart = Chart { title: "<script>".into(), ..Chart::default() };
        assert!(!chart.svg().contains("<script>"));
    }

    #[test]
    fn coordinates_are_short() {
        let mut out = String::new();
        for value in [1.0, 2.345, -0.01] {
            coordinate(&mut out, value);
            out.push(' ');
        }
        assert_eq!(out, "1 2.3 0 ");
    }
}
