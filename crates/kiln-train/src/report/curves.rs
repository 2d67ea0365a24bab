//! The curves of a stage: loss, learning rate, gradients, training diagnostics, speed.

use super::{
    chart::{COLOURS, Chart, Line, XAxis},
    record::StageCurves,
};

/// Which names of `metrics.jsonl` share a picture; the last part of a dotted name counts.
struct Picture {
    title: &'static str,
    names: &'static [&'static str],
    log: bool,
}

const fn picture(title: &'static str, names: &'static [&'static str]) -> Picture {
    Picture { title, names, log: false }
}

const PICTURES: [Picture; 12] = [
    picture("loss", &["loss", "baseline_loss", "contrastive_loss"]),
    picture("learning rate", &["learning_rate"]),
    Picture { title: "gradient norm", names: &["gradient_norm"], log: true },
    picture("standard deviation of representations", &["representation_std"]),
    picture("share of dead units", &["dead_units"]),
    picture("accuracy", &["accuracy", "chance_accuracy"]),
    picture("codebook perplexity", &["codebook_perplexity", "collapsed_perplexity"]),
    picture("share of tokens masked", &["masked_share"]),
    picture("share of steps clipped", &["clipped_share"]),
    picture("steps skipped", &["bad_steps"]),
    picture("tokens a second", &["tokens_per_s"]),
    picture("share of time waiting for data", &["wait_share"]),
];

/// The charts of a stage as SVG, those first that matter most.
pub(super) fn pictures(stage: &StageCurves) -> Vec<String> {
    let curve = |key: &str, place: usize| {
        let points = stage.curves.get(key)?.clone();
        let colour = COLOURS.get(place % COLOURS.len()).copied().unwrap_or("#0072b2");
        Some(Line {
            label: label(key),
            colour,
            dashed: ["baseline", "chance", "collapsed"].iter().any(|mark| key.contains(mark)),
            points,
        })
    };
    let validated = |key: &&String| key.starts_with("validation.");
    let mut charts = Vec::new();
    for picture in &PICTURES {
        let shown = |key: &&String| {
            let last = key.rsplit('.').next().unwrap_or(key);
            picture.names.contains(&last) && (picture.title == "loss" || !validated(key))
        };
        let mut keys: Vec<_> = stage.curves.keys().filter(shown).collect();
        keys.sort_by_key(|key| (key.contains('.'), key.contains("baseline"), (*key).clone()));
        let lines = keys.iter().enumerate().filter_map(|(place, key)| curve(key, place));
        charts.extend(chart(picture.title, lines.collect(), picture.log));
    }
    // What validation measures is the modality's choice: a picture each.
    for key in stage.curves.keys().filter(validated).filter(|key| !key.ends_with(".loss")) {
        charts.extend(chart(&label(key), curve(key, 0).into_iter().collect(), false));
    }
    charts
}

fn chart(title: &str, mut lines: Vec<Line>, log: bool) -> Option<String> {
    let values = || lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    // Nothing was skipped, nothing clipped: no picture says it better.
    if values().all(|value| value == 0.0) {
        return None;
    }
    if lines.len() == 1 {
        // The title says it.
        lines.iter_mut().for_each(|line| line.label.clear());
    }
    let chart = Chart {
        title: title.into(),
        size: (420.0, 230.0),
        x: XAxis::Number("step".into()),
        y_log: log,
        lines,
        ..Chart::default()
    };
    Some(chart.svg())
}

/// A name of `metrics.jsonl` in words.
fn label(key: &str) -> String {
    let words = key.replace(['.', '_'], " ");
    match words.as_str() {
        "baseline loss" => "baseline".into(),
        "chance accuracy" => "chance".into(),
        "loss" => "training".into(),
        "validation loss" => "validation".into(),
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_that_belong_together_share_a_picture() {
        let mut stage = StageCurves::default();
        let points = vec![(1.0, 2.0), (2.0, 1.0)];
        for key in
            ["loss", "baseline_loss", "validation.loss", "learning_rate", "validation.mse", "epoch"]
        {
            stage.curves.insert(key.into(), points.clone());
        }
        let pictures = pictures(&stage);
        assert_eq!(pictures.len(), 3);
        for label in [">training<", ">baseline<", ">validation<"] {
            assert!(pictures[0].contains(label), "{}", pictures[0]);
        }
        assert!(pictures[1].contains(">learning rate<"));
        assert!(pictures[2].contains(">validation mse<"));
    }
}
