//! From a chart to SVG.

use super::{CHARACTER, Chart, XAxis, coordinate, escape, legend, ticks};
use std::fmt::Write as _;

const FONT: &str =
    "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif";
/// More points than pixels would only make the file large.
const MOST_POINTS: usize = 700;

/// Where values land in the picture.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: (f64, f64),
    y: (f64, f64),
    log: bool,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        let share = (value - self.x.0) / (self.x.1 - self.x.0);
        self.left + share * (self.right - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        let (value, low, high) = if self.log {
            (value.log10(), self.y.0.log10(), self.y.1.log10())
        } else {
            (value, self.y.0, self.y.1)
        };
        self.bottom - (value - low) / (high - low) * (self.bottom - self.top)
    }

    fn shows(&self, x: f64, y: f64) -> bool {
        x.is_finite() && y.is_finite() && (!self.log || y > 0.0)
    }
}

impl Chart {
    /// A complete `<svg>` element. Nothing to draw gives an empty frame that says so.
    pub fn svg(&self) -> String {
        svg(self)
    }
}

fn svg(chart: &Chart) -> String {
    let (width, height) = chart.size;
    let legend = legend::rows(chart, width - 24.0);
    let title = if chart.title.is_empty() { 0.0 } else { 24.0 };
    let top = 14.0 + title + 20.0 * legend.len() as f64;
    let axis_name = matches!(&chart.x, XAxis::Number(name) if !name.is_empty());
    let bottom = height - if axis_name { 40.0 } else { 26.0 };

    let mut out = String::with_capacity(8192);
    let _ = write!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" font-family="{FONT}" font-size="12"><title>{}</title><rect class="kc-ground" width="100%" height="100%" rx="6" fill="#fff"/>"##,
        escape(if chart.title.is_empty() { "chart" } else { &chart.title })
    );
    if !chart.title.is_empty() {
        let _ = write!(
            out,
            r##"<text class="kc-ink" x="12" y="23" font-size="14" font-weight="600" fill="#1a1d21">{}</text>"##,
            escape(&chart.title)
        );
    }
    legend::draw(&mut out, &legend, title + 20.0);
    match bounds(chart) {
        Some((x, y)) => {
            let y_ticks = if chart.y_log {
                ticks::powers(y.0, y.1)
            } else {
                ticks::numbers(y.0, y.1, (((bottom - top) / 42.0) as usize).max(2))
            };
            let widest = y_ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(1);
            let left = 16.0
                + CHARACTER * widest as f64
                + if chart.y_label.is_empty() { 0.0 } else { 18.0 };
            let frame = Frame { left, right: width - 16.0, top, bottom, x, y, log: chart.y_log };
            draw_axes(&mut out, chart, &frame, &y_ticks);
            draw_data(&mut out, chart, &frame);
        }
        None => {
            let _ = write!(
                out,
                r##"<text class="kc-muted" x="{}" y="{}" text-anchor="middle" fill="#5b626b">nothing to draw</text>"##,
                width / 2.0,
                height / 2.0
            );
        }
    }
    out.push_str("</svg>");
    out
}

/// The range of both axes, with some air; `None` when no point can be shown.
fn bounds(chart: &Chart) -> Option<((f64, f64), (f64, f64))> {
    let lines = chart.lines.iter().flat_map(|line| line.points.iter().copied());
    let bands = chart.bands.iter().flat_map(|band| &band.points);
    let bands = bands.flat_map(|(x, lower, upper)| [(*x, *lower), (*x, *upper)]);
    let shown = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite() && (!chart.y_log || *y > 0.0);
    let mut points = lines.chain(bands).filter(shown);
    let (x, y) = points.next()?;
    let ((x0, x1), (y0, y1)) = points.fold(((x, x), (y, y)), |((x0, x1), (y0, y1)), (x, y)| {
        ((x0.min(x), x1.max(x)), (y0.min(y), y1.max(y)))
    });
    let x = if x1 > x0 { (x0, x1) } else { (x0 - 1.0, x1 + 1.0) };
    let y = match y1 - y0 {
        _ if chart.y_log && y1 > y0 => (y0 / (y1 / y0).powf(0.04), y1 * (y1 / y0).powf(0.04)),
        _ if chart.y_log => (y0 / 2.0, y1 * 2.0),
        span if span > 0.0 => (y0 - 0.05 * span, y1 + 0.05 * span),
        _ if y0 == 0.0 => (-1.0, 1.0),
        _ => (y0 - y0.abs() * 0.1, y1 + y1.abs() * 0.1),
    };
    // Ranges beyond floating point would turn every coordinate into NaN.
    ((x.1 - x.0).is_finite() && (y.1 - y.0).is_finite()).then_some((x, y))
}

fn draw_axes(out: &mut String, chart: &Chart, frame: &Frame, y_ticks: &[(f64, String)]) {
    let Frame { left, right, top, bottom, .. } = *frame;
    for (value, label) in y_ticks {
        let y = (frame.y(*value) * 10.0).round() / 10.0;
        let _ = write!(
            out,
            r##"<path class="kc-grid" d="M{left:.1} {y}H{right:.1}" stroke="#e3e6ea" fill="none"/><text class="kc-muted" x="{:.1}" y="{:.1}" text-anchor="end" fill="#5b626b">{label}</text>"##,
            left - 6.0,
            y + 4.0
        );
    }
    let (low, high) = frame.x;
    let x_ticks = match chart.x {
        XAxis::Number(_) => ticks::numbers(low, high, (((right - left) / 90.0) as usize).max(2)),
        XAxis::Time => ticks::times(low, high, (((right - left) / 95.0) as usize).max(2)),
    };
    for (value, label) in x_ticks {
        let x = (frame.x(value) * 10.0).round() / 10.0;
        // A label at the very edge would be cut off.
        let half = CHARACTER * label.chars().count() as f64 / 2.0;
        let at = x.clamp(half, (chart.size.0 - half - 4.0).max(half));
        let _ = write!(
            out,
            r##"<path class="kc-muted-line" d="M{x} {bottom}v4" stroke="#8a919a"/><text class="kc-muted" x="{at:.1}" y="{:.1}" text-anchor="middle" fill="#5b626b">{label}</text>"##,
            bottom + 17.0
        );
    }
    let _ = write!(
        out,
        r##"<path class="kc-muted-line" d="M{left:.1} {bottom}H{right:.1}" stroke="#8a919a" fill="none"/>"##
    );
    if let XAxis::Number(name) = &chart.x {
        let _ = write!(
            out,
            r##"<text class="kc-muted" x="{:.1}" y="{:.1}" text-anchor="middle" fill="#5b626b">{}</text>"##,
            f64::midpoint(left, right),
            bottom + 33.0,
            escape(name)
        );
    }
    if !chart.y_label.is_empty() {
        let middle = f64::midpoint(top, bottom);
        let _ = write!(
            out,
            r##"<text class="kc-muted" transform="translate(16 {middle:.1}) rotate(-90)" text-anchor="middle" fill="#5b626b">{}</text>"##,
            escape(&chart.y_label)
        );
    }
    for (value, label) in &chart.marks {
        if *value < low || *value > high {
            continue;
        }
        let x = (frame.x(*value) * 10.0).round() / 10.0;
        let _ = write!(
            out,
            r##"<path class="kc-muted-line" d="M{x} {top}V{bottom}" stroke="#8a919a" stroke-dasharray="3 3"/>"##
        );
        if !label.is_empty() {
            let _ = write!(
                out,
                r##"<text class="kc-muted" x="{:.1}" y="{:.1}" font-size="11" fill="#5b626b">{}</text>"##,
                x + 4.0,
                top + 10.0,
                escape(label)
            );
        }
    }
}

fn draw_data(out: &mut String, chart: &Chart, frame: &Frame) {
    for band in &chart.bands {
        let points: Vec<_> = band
            .points
            .iter()
            .filter(|(x, lower, upper)| frame.shows(*x, *lower) && frame.shows(*x, *upper))
            .collect();
        let upper = points.iter().map(|(x, _, upper)| (*x, *upper));
        let lower = points.iter().rev().map(|(x, lower, _)| (*x, *lower));
        let path = path(frame, upper.chain(lower));
        let _ = write!(out, r#"<path d="{path}Z" fill="{}" fill-opacity=".2"/>"#, band.colour);
    }
    for line in &chart.lines {
        let dash = if line.dashed { r#" stroke-dasharray="5 4""# } else { "" };
        if let [(x, y)] = line.points[..]
            && frame.shows(x, y)
        {
            let (x, y) = (frame.x(x), frame.y(y));
            let _ =
                write!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{}"/>"#, line.colour);
        }
        let path = path(frame, thinned(&line.points).into_iter());
        let _ = write!(
            out,
            r#"<path d="{path}" fill="none" stroke="{}" stroke-width="1.75" stroke-linejoin="round"{dash}/>"#,
            line.colour
        );
    }
}

/// The outline through points; a point that cannot be shown lifts the pen.
fn path(frame: &Frame, points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut out = String::new();
    let mut down = false;
    for (x, y) in points {
        if !frame.shows(x, y) {
            down = false;
            continue;
        }
        out.push(if down { 'L' } else { 'M' });
        down = true;
        coordinate(&mut out, frame.x(x));
        out.push(' ');
        coordinate(&mut out, frame.y(y));
    }
    out
}

/// At most about [`MOST_POINTS`]: of each run of points the lowest and the highest, so that spikes
/// stay. The first and the last point stay too.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let run = points.len().div_ceil(MOST_POINTS / 2);
    let mut kept = Vec::with_capacity(MOST_POINTS + 2);
    kept.extend(points.first());
    for run in points.chunks(run) {
        let order = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let low = run.iter().min_by(order);
        let high = run.iter().max_by(order);
        let mut ends: Vec<_> = low.into_iter().chain(high).copied().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends.dedup();
        kept.extend(ends);
    }
    kept.extend(points.last());
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use super::super::{Band, Line};
    use super::*;

    fn line(points: Vec<(f64, f64)>) -> Line {
        Line { label: "line".into(), colour: "#000", dashed: false, points }
    }

    #[test]
    fn values_land_where_they_belong() {
        let frame = Frame {
            left: 10.0,
            right: 110.0,
            top: 0.0,
            bottom: 50.0,
            x: (0.0, 10.0),
            y: (1.0, 100.0),
            log: true,
        };
        assert_eq!(frame.x(5.0), 60.0);
        assert!((frame.y(10.0) - 25.0).abs() < 1e-9);
        let gap = [(0.0, 1.0), (1.0, f64::NAN), (10.0, 100.0), (10.0, 10.0)];
        assert_eq!(path(&frame, gap.into_iter()), "M10 50M110 0L110 25");
    }

    #[test]
    fn nothing_finite_is_said_to_be_nothing() {
        let chart = Chart { lines: vec![line(vec![(0.0, f64::NAN)])], ..Chart::default() };
        let svg = chart.svg();
        assert!(svg.contains("nothing to draw") && !svg.contains("NaN"));
    }

    #[test]
    fn extremes_and_constants_give_numbers() {
        for points in [
            vec![(0.0, 3.0), (1.0, 3.0)],
            vec![(0.0, 0.0)],
            vec![(0.0, -1e300), (1.0, 1e300)],
            vec![(0.0, f64::MIN), (1.0, f64::MAX)],
            vec![(-1e18, 1.0), (1e18, 2.0)],
        ] {
            for x in [XAxis::Number("step".into()), XAxis::Time] {
                for y_log in [false, true] {
                    let lines = vec![line(points.clone())];
                    let svg = Chart { lines, x: x.clone(), y_log, ..Chart::default() }.svg();
                    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{points:?}: {svg}");
                }
            }
        }
    }

    #[test]
    fn thinning_keeps_spikes_and_ends() {
        let mut points: Vec<_> = (0..10_000).map(|x| (f64::from(x), 1.0)).collect();
        points[5432].1 = 99.0;
        let kept = thinned(&points);
        assert!(kept.len() <= MOST_POINTS + 2, "{}", kept.len());
        assert!(kept.contains(&(5432.0, 99.0)));
        assert_eq!((kept[0].0, kept[kept.len() - 1].0), (0.0, 9999.0));
    }

    #[test]
    fn a_chart_is_small_and_complete() {
        let points: Vec<_> = (0..5000).map(|x| (f64::from(x), f64::from(x % 97))).collect();
        let band = Band {
            label: "80 % interval".into(),
            colour: "#0072b2",
            points: (0..96).map(|x| (f64::from(x), 1.0, 2.0)).collect(),
        };
        let svg = Chart { lines: vec![line(points)], bands: vec![band], ..Chart::default() }.svg();
        assert!(svg.len() < 16_000, "{} bytes", svg.len());
        assert!(
            svg.starts_with("<svg ") && svg.ends_with("</svg>") && svg.contains("80 % interval")
        );
    }
}
