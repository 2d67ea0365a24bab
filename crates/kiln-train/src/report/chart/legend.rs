//! The legend of a chart.

use super::{CHARACTER, Chart, escape};
use std::fmt::Write as _;

/// An entry of the legend: its label, colour, and whether it is a band or dashed.
pub(super) struct Entry<'a> {
    label: &'a str,
    colour: &'a str,
    band: bool,
    dashed: bool,
}

/// The legend's entries, as many rows as they need.
pub(super) fn rows(chart: &Chart, width: f64) -> Vec<Vec<Entry<'_>>> {
    let lines = chart.lines.iter().map(|line| Entry {
        label: &line.label,
        colour: line.colour,
        band: false,
        dashed: line.dashed,
    });
    let bands = chart.bands.iter().map(|band| Entry {
        label: &band.label,
        colour: band.colour,
        band: true,
        dashed: false,
    });
    let mut rows: Vec<Vec<Entry<'_>>> = Vec::new();
    let mut used = 0.0;
    for entry in lines.chain(bands).filter(|entry| !entry.label.is_empty()) {
        let length = entry_width(&entry);
        match rows.last_mut() {
            Some(row) if used + length <= width => row.push(entry),
            _ => {
                rows.push(vec![entry]);
                used = 0.0;
            }
        }
        used += length;
    }
    rows
}

fn entry_width(entry: &Entry<'_>) -> f64 {
    24.0 + CHARACTER * entry.label.chars().count() as f64 + 16.0
}

pub(super) fn draw(out: &mut String, rows: &[Vec<Entry<'_>>], top: f64) {
    for (row, entries) in rows.iter().enumerate() {
        let y = top + 20.0 * row as f64;
        let mut x = 12.0;
        for entry in entries {
            let colour = entry.colour;
            if entry.band {
                let _ = write!(
                    out,
                    r#"<rect x="{x:.1}" y="{:.1}" width="18" height="10" fill="{colour}" fill-opacity=".2"/>"#,
                    y - 9.0
                );
            } else {
                let dash = if entry.dashed { r#" stroke-dasharray="5 4""# } else { "" };
                let _ = write!(
                    out,
                    r#"<path d="M{x:.1} {:.1}h18" stroke="{colour}" stroke-width="2.5"{dash}/>"#,
                    y - 4.0
                );
            }
            let _ = write!(
                out,
                r##"<text class="kc-ink" x="{:.1}" y="{y:.1}" fill="#1a1d21">{}</text>"##,
                x + 24.0,
                escape(entry.label)
            );
            x += entry_width(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Line, *};

    #[test]
    fn a_long_legend_takes_rows() {
        let lines = (0..6).map(|n| Line {
            label: format!("a rather long label {n}"),
            colour: "#000",
            dashed: false,
            points: Vec::new(),
        });
        let chart = Chart { lines: lines.collect(), ..Chart::default() };
        assert_eq!(rows(&chart, 400.0).len(), 3);
    }
}
