//! The page of a report.

use super::{
    curves::pictures,
    record::Record,
    table::{baselines, best, duration, number},
};
use crate::{
    logs::told,
    results::{Evaluation, ResultRow, Section, SectionBody},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

/// The whole page.
pub(super) fn render(record: &Record, evaluation: &Evaluation) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (record.name) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main {
                    h1 { (record.name) }
                    @if !record.description.is_empty() { p { (record.description) } }
                    p.muted { (summary(record)) }
                    @for warning in &record.warnings { p.warn { (warning) } }
                    (results(&record.rows))
                    @for section in &evaluation.sections { (shown(section)) }
                    @for stage in &record.stages {
                        @let pictures = pictures(stage);
                        @if !pictures.is_empty() {
                            h2 { "Training: " (stage.name) }
                            div.grid {
                                @for picture in pictures { figure { (PreEscaped(picture)) } }
                            }
                        }
                    }
                    (logbook(&told(&record.logbook)))
                    @if let Some(recipe) = &record.recipe {
                        h2 { "Recipe" }
                        details {
                            summary { "recipe.toml with every default written out" }
                            pre { (recipe) }
                        }
                    }
                    (provenance(&record.run))
                }
            }
        }
    };
    page.into_string()
}

/// What was trained, how long and on what: as much of it as is known.
fn summary(record: &Record) -> String {
    let run = &record.run;
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_f64);
    let mut text = String::from("A model");
    // A later stage may freeze what an earlier one trained; both count.
    let last = run.get("stages").and_then(Value::as_array).and_then(|stages| stages.last());
    if let Some(trainable) = last.and_then(|stage| number(stage, "trainable")) {
        let frozen = last.and_then(|stage| number(stage, "frozen")).unwrap_or(0.0);
        text.push_str(&format!(" of {} parameters", amount(trainable + frozen)));
    }
    let steps = record.stages.iter().map(|stage| stage.last_step).fold(0.0, f64::max);
    if steps > 0.0 {
        text.push_str(&format!(", trained for {steps} steps"));
    }
    if record.stages.len() > 1 {
        text.push_str(&format!(" in {} stages", record.stages.len()));
    }
    if let Some(seconds) = number(run, "seconds") {
        text.push_str(&format!(", {} in all", duration(seconds)));
    }
    if let Some(device) = run.get("device").and_then(Value::as_str) {
        text.push_str(&format!(", on {device}"));
        if let Some(threads) = number(run, "threads") {
            text.push_str(&format!(" with {threads} threads"));
        }
    }
    if let Some(bytes) = number(run, "peak_memory_bytes") {
        text.push_str(&format!(", {:.2} GiB of memory at most", bytes / 1_073_741_824.0));
    }
    text.push('.');
    match run.get("status").and_then(Value::as_str) {
        Some("interrupted") => text.push_str(" It was interrupted and can be resumed."),
        Some("failed") => text.push_str(" It ended in an error."),
        _ => {}
    }
    text
}

/// A count in words: 812, 46.1 thousand, 1.20 million.
fn amount(count: f64) -> String {
    match count {
        count if count >= 1e9 => format!("{:.2} billion", count / 1e9),
        count if count >= 1e6 => format!("{:.2} million", count / 1e6),
        count if count >= 1e4 => format!("{:.1} thousand", count / 1e3),
        count => format!("{count}"),
    }
}

/// The model beside its baselines, the best of each row in bold, and in words how it stands.
fn results(rows: &[ResultRow]) -> Markup {
    if rows.is_empty() {
        return html! {};
    }
    let names = baselines(rows);
    let won = rows.iter().filter(|row| best(row).is_none()).count();
    let cell = |text: String, best: bool| {
        html! { td.n { @if best { b { (text) } } @else { (text) } } }
    };
    html! {
        h2 { "Results" }
        p {
            @if names.is_empty() { "Without baselines." }
            @else if won == rows.len() {
                "The model is better than every baseline in all " (won) " rows. The best of each row is bold."
            } @else {
                "The model is better than every baseline in " (won) " of " (rows.len())
                " rows; a baseline wins the others. The best of each row is bold."
            }
        }
        div.card {
            table {
                tr {
                    th { "data set" } th { "task" } th { "metric" } th.n { "model" }
                    @for name in &names { th.n { (name) } }
                }
                @for row in rows {
                    @let best = best(row);
                    tr {
                        td { (row.dataset) " " span.muted { (row.split) } }
                        td { (row.task) }
                        td { (row.metric) }
                        (cell(number(row.value), best.is_none()))
                        @for name in &names {
                            @match row.baselines.get(*name) {
                                Some(value) => (cell(number(*value), best == Some(*name))),
                                None => td.n.muted { "–" },
                            }
                        }
                    }
                }
            }
        }
    }
}

fn shown(section: &Section) -> Markup {
    html! {
        h3 { (section.title) }
        figure {
            @match &section.body {
                SectionBody::Svg(svg) => (PreEscaped(svg)),
                SectionBody::Table { head, rows } => div.card {
                    table {
                        tr { @for cell in head { th { (cell) } } }
                        @for row in rows { tr { @for cell in row { td { (cell) } } } }
                    }
                },
                SectionBody::Text(text) => pre { (text) },
            }
            @if !section.caption.is_empty() { figcaption { (section.caption) } }
        }
    }
}

/// What happened to the run: time, step, event.
fn logbook(lines: &[[String; 3]]) -> Markup {
    if lines.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Logbook" }
        div.card {
            table {
                tr { th { "time" } th.n { "step" } th { "what happened" } }
                @for [time, step, text] in lines {
                    tr { td.muted { (time) } td.n { (step) } td { (text) } }
                }
            }
        }
    }
}

/// Fields of `run.json` that are told elsewhere, or (the status) not true yet when the report of a
/// run is its last step.
const SHOWN: [&str; 2] = ["warnings", "status"];

/// Everything that `run.json` says.
fn provenance(run: &Value) -> Markup {
    let mut facts = Vec::new();
    flatten("", run, &mut facts);
    if facts.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Versions and provenance" }
        div.card {
            table.facts {
                @for (name, value) in &facts { tr { td { (name) } td { (value) } } }
            }
        }
    }
}

fn flatten(name: &str, value: &Value, facts: &mut Vec<(String, String)>) {
    let inner = |key: &str| if name.is_empty() { key.into() } else { format!("{name} · {key}") };
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (key, value) in fields.iter().filter(|(key, _)| !SHOWN.contains(&key.as_str())) {
                flatten(&inner(&key.replace('_', " ")), value, facts);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (place, item) in items.iter().enumerate() {
                flatten(&inner(&(place + 1).to_string()), item, facts);
            }
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(plain).collect();
            facts.push((name.into(), items.join(", ")));
        }
        other => facts.push((name.into(), plain(other))),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn summary_says_what_is_known() {
        let mut record = Record {
            run: json!({
                "stages": [{"trainable": 5, "frozen": 0}, {"trainable": 200_000, "frozen": 1_000_000}],
                "seconds": 3700.0,
                "device": "cpu",
                "threads": 2,
                "status": "interrupted",
                "peak_memory_bytes": 1_610_612_736_u64,
            }),
            ..Record::default()
        };
        assert_eq!(
            summary(&record),
            "A model of 1.20 million parameters, 1 h 01 min in all, on cpu with 2 threads, 1.50 GiB \
             of memory at most. It was interrupted and can be resumed."
        );
        record.run = Value::Null;
        assert_eq!(summary(&record), "A model.");
    }

    #[test]
    fn provenance_is_flat() {
        let mut facts = Vec::new();
        flatten(
            "",
            &json!({"a_b": {"c": 1}, "d": [1, "x"], "e": null, "f": [{"g": true}]}),
            &mut facts,
        );
        let fact = |name: &str, value: &str| (name.to_string(), value.to_string());
        assert_eq!(facts, [fact("a b · c", "1"), fact("d", "1, x"), fact("f · 1 · g", "true")]);
    }
}
