//! Results beside their baselines as plain text, for terminals and logs.

use crate::{results::ResultRow, run_dir::StageRecord};

/// A number with four significant digits or so: what differs between forecasters stays visible.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => value.to_string(),
        0.0 => "0".into(),
        size if !(1e-4..1e7).contains(&size) => format!("{value:.3e}"),
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// `2 h 05 min`, `3 min 20 s`, `4.2 s`: a duration.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".into();
    }
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

/// Whether a higher number is the better one.
pub(super) fn higher_is_better(metric: &str) -> bool {
    const HIGHER: [&str; 19] = [
        "accuracy",
        "auc",
        "bleu",
        "chrf",
        "exact",
        "f1",
        "kendall",
        "map",
        "matthews",
        "mrr",
        "ndcg",
        "pearson",
        "precision",
        "r2",
        "recall",
        "return",
        "rouge",
        "sharpe",
        "spearman",
    ];
    metric.split(['_', '-', '@']).any(|word| HIGHER.contains(&word))
}

/// The best of a row: `None` for the model, or the name of a baseline. The model wins ties.
pub(super) fn best(row: &ResultRow) -> Option<&str> {
    let sign = if higher_is_better(&row.metric) { -1.0 } else { 1.0 };
    let mut best = (None, if row.value.is_nan() { f64::INFINITY } else { sign * row.value });
    for (name, value) in &row.baselines {
        if sign * value < best.1 {
            best = (Some(name.as_str()), sign * value);
        }
    }
    best.0
}

/// The names of all baselines, in the order of their strength as usually tried.
pub(super) fn baselines(rows: &[ResultRow]) -> Vec<&str> {
    const ORDER: [&str; 5] = ["naive", "seasonal-naive", "drift", "theta", "ets"];
    let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    let mut names: Vec<_> =
        rows.iter().flat_map(|row| row.baselines.keys()).map(String::as_str).collect();
    names.sort_unstable_by_key(|name| (place(name), *name));
    names.dedup();
    names
}

/// Results of several runs side by side, named: data set, task, metric, a column a run, and the
/// strongest baseline that any of them was measured beside. A star marks the best of each row.
pub fn comparison_table(runs: &[(String, Vec<ResultRow>)]) -> String {
    let rows = || runs.iter().flat_map(|(_, rows)| rows);
    let baselines = rows().any(|row| !row.baselines.is_empty());
    let mut head: Vec<String> = ["dataset", "task", "metric"].map(Into::into).into();
    head.extend(runs.iter().map(|(name, _)| format!("{name} ")));
    head.extend(baselines.then(|| "baseline ".to_owned()));
    let mut places: Vec<&ResultRow> = Vec::new();
    for row in rows() {
        if !places.iter().any(|place| is_beside(place, row)) {
            places.push(row);
        }
    }
    let line = |place: &ResultRow| {
        let sign = if higher_is_better(&place.metric) { -1.0 } else { 1.0 };
        let mut found: Vec<Option<(String, f64)>> = runs
            .iter()
            .map(|(_, rows)| rows.iter().find(|row| is_beside(place, row)))
            .map(|row| row.map(|row| (String::new(), row.value)))
            .collect();
        if baselines {
            let all = rows().filter(|row| is_beside(place, row)).flat_map(|row| &row.baselines);
            let finite = all.filter(|(_, value)| value.is_finite());
            let strongest = finite.min_by(|(_, a), (_, b)| (sign * **a).total_cmp(&(sign * **b)));
            found.push(strongest.map(|(name, value)| (format!("{name} "), *value)));
        }
        let finite = found.iter().flatten().filter(|(_, value)| value.is_finite());
        let best = finite.map(|(_, value)| sign * value).min_by(f64::total_cmp);
        let mut cells = what_is_measured(place);
        cells.extend(found.into_iter().map(|cell| match cell {
            Some((name, value)) => name + &marked(value, best == Some(sign * value)),
            None => "- ".into(),
        }));
        cells
    };
    let body: Vec<Vec<String>> = places.into_iter().map(line).collect();
    if body.is_empty() {
        return String::new();
    }
    columns(&head, &body, 3) + "* best of its row\n"
}

/// What several runs, named, cost beside what they learned: the loss that was logged last and the best
/// validation of the last stage, and of all stages operations, tokens and seconds of training.
pub fn cost_table(runs: &[(String, Vec<StageRecord>)]) -> String {
    let head = ["variant", "loss", "validated", "FLOP", "tokens", "seconds", "trained"];
    let line = |(name, stages): &(String, Vec<StageRecord>)| {
        let last = stages.last();
        let told = |value: Option<f64>| value.map_or_else(|| "-".into(), number);
        let sum = |of: fn(&StageRecord) -> f64| stages.iter().map(of).sum::<f64>();
        vec![
            name.clone(),
            told(last.and_then(|stage| stage.loss)),
            told(last.and_then(|stage| Some(stage.best?.value))),
            format!("{:.3e}", sum(|stage| stage.flops)),
            format!("{:.3e}", sum(|stage| stage.tokens as f64)),
            format!("{:.0}", sum(|stage| stage.seconds)),
            last.map_or_else(|| "-".into(), |stage| stage.trainable.to_string()),
        ]
    };
    columns(&head.map(str::to_owned), &runs.iter().map(line).collect::<Vec<_>>(), 1)
}

/// Whether both say the same of another model.
fn is_beside(a: &ResultRow, b: &ResultRow) -> bool {
    (&a.dataset, &a.split, &a.task, &a.metric) == (&b.dataset, &b.split, &b.task, &b.metric)
}

/// The cells before a row's numbers: data set, task, metric.
fn what_is_measured(row: &ResultRow) -> Vec<String> {
    let dataset = format!("{} {}", row.dataset, row.split).trim_end().to_string();
    vec![dataset, row.task.clone(), row.metric.clone()]
}

/// A number with a star where it is the best of its row, and room for one where not.
fn marked(value: f64, best: bool) -> String {
    format!("{}{}", number(value), if best { "*" } else { " " })
}

/// Aligned columns: data set, task, metric, the model, its baselines. A star marks the best of
/// each row, whoever it is. Empty without rows.
pub fn results_table(rows: &[ResultRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let names = baselines(rows);
    let mut head: Vec<String> = ["dataset", "task", "metric", "model"].map(Into::into).into();
    head.extend(names.iter().map(ToString::to_string));
    // Marks stand behind numbers: the heads above them leave room too.
    head.iter_mut().skip(3).for_each(|name| name.push(' '));
    let body = rows.iter().map(|row| {
        let best = best(row);
        let mut cells = what_is_measured(row);
        cells.push(marked(row.value, best.is_none()));
        cells.extend(names.iter().map(|name| match row.baselines.get(*name) {
            Some(value) => marked(*value, best == Some(*name)),
            None => "- ".into(),
        }));
        cells
    });
    let mut text = columns(&head, &body.collect::<Vec<_>>(), 3);
    text.push_str("* best of its row\n");
    text
}

/// Rows under a head and a rule, the first `left` columns to the left, the others to the right.
pub fn columns(head: &[String], rows: &[Vec<String>], left: usize) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).chain(head.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let fill = " ".repeat(width.saturating_sub(cell.chars().count()));
            if column < left { format!("{cell}{fill}") } else { format!("{fill}{cell}") }
        });
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    let rule = widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().join("  ");
    let mut text = line(head);
    text.push_str(&rule);
    text.push('\n');
    text.extend(rows.iter().map(|row| line(row)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn row(metric: &str, value: f64, baselines: &[(&str, f64)]) -> ResultRow {
        ResultRow {
            task: "forecast-96".into(),
            dataset: "ETTh1".into(),
            split: "test".into(),
            metric: metric.into(),
            value,
            baselines: baselines.iter().map(|(name, value)| ((*name).into(), *value)).collect(),
        }
    }

    #[test]
    fn numbers_keep_four_digits() {
        let cases = [(0.38512, "0.3851"), (12.3456, "12.35"), (123.456, "123.5"), (0.0, "0")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(1.23e-7), "1.230e-7");
        assert_eq!(number(f64::NAN), "NaN");
    }

    #[test]
    fn durations_are_readable() {
        for (seconds, expected) in [
            (4.24, "4.2 s"),
            (59.4, "59 s"),
            (59.6, "1 min 00 s"),
            (75.5, "1 min 16 s"),
            (7500.0, "2 h 05 min"),
            (f64::NAN, "unknown"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn the_best_wins_even_if_it_is_a_baseline() {
        assert_eq!(best(&row("mse", 0.3, &[("naive", 0.5)])), None);
        assert_eq!(best(&row("mse", 0.6, &[("naive", 0.5), ("theta", 0.4)])), Some("theta"));
        assert_eq!(best(&row("sharpe", 0.6, &[("market", 0.5)])), None);
        assert_eq!(best(&row("mse", f64::NAN, &[("naive", 0.5)])), Some("naive"));
    }

    #[test]
    fn costs_stand_beside_what_was_learned() {
        let stage = |flops, tokens, trainable| StageRecord {
            flops,
            tokens,
            trainable,
            seconds: 10.0,
            loss: Some(0.25),
            ..StageRecord::default()
        };
        let runs = [
            ("all".to_owned(), vec![stage(1e12, 500, 100), stage(2e12, 500, 90)]),
            ("biases".to_owned(), vec![stage(2.5e12, 1500, 4)]),
        ];
        let expected = "\
variant       loss  validated     FLOP   tokens  seconds  trained
──────  ──────  ─────────  ───────  ───────  ───────  ───────
all     0.2500          -  3.000e12  1.000e3       20       90
biases  0.2500          -  2.500e12  1.500e3       10        4
";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let rows = |text: &str| text.lines().skip(2).map(squeezed).collect::<Vec<_>>();
        assert_eq!(rows(&cost_table(&runs)), rows(expected));
    }

    #[test]
    fn variants_stand_beside_the_strongest_baseline() {
        let runs = [
            ("a".to_owned(), vec![row("mse", 0.5, &[("naive", 0.6), ("theta", 0.55)])]),
            ("b".to_owned(), vec![row("mse", 0.7, &[("naive", 0.6)]), row("mae", 0.2, &[])]),
        ];
        let expected = "\
dataset     task         metric       a        b       baseline
──────────  ───────────  ──────  ───────  ───────  ─────────────
ETTh1 test  forecast-96  mse     0.5000*  0.7000   theta 0.5500
ETTh1 test  forecast-96  mae          -   0.2000*             -
* best of its row
";
        assert_eq!(comparison_table(&runs), expected);
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            row("mse", 0.385, &[("theta", 0.5), ("naive", 1.25)]),
            row("mae", 0.6, &[("naive", 0.5)]),
        ];
        let expected = "\
dataset     task         metric   model    naive    theta
──────────  ───────────  ──────  ───────  ───────  ───────
ETTh1 test  forecast-96  mse     0.3850*  1.2500   0.5000
ETTh1 test  forecast-96  mae     0.6000   0.5000*       -
* best of its row
";
        assert_eq!(results_table(&rows), expected);
        assert_eq!(results_table(&[]), "");
    }
}
