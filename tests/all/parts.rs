//! A stage starts from one model with parts of others.

use crate::support::{Place, tiny, waves};
use serde_json::Value;
use std::fs;

/// The tensors of a run's model by name, without running statistics.
fn tensors(place: &Place, run: &str) -> Vec<(String, Vec<f32>)> {
    let bytes = fs::read(place.path(&format!("runs/{run}/model/model.safetensors"))).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let floats = header.as_object().unwrap().iter().filter(|(_, entry)| entry["dtype"] == "F32");
    let trained = floats.filter(|(name, _)| !name.contains("running"));
    trained
        .map(|(name, entry)| {
            let at = |end: usize| entry["data_offsets"][end].as_u64().unwrap() as usize;
            let values = bytes[8 + length + at(0)..8 + length + at(1)].chunks(4);
            let values = values.map(|four| f32::from_le_bytes(four.try_into().unwrap()));
            (name.clone(), values.collect())
        })
        .collect()
}

#[test]
fn a_body_of_one_and_a_frontend_of_another() {
    let place = Place::new();
    place.file("series.csv", &waves(120));
    place.file("tiny.toml", &tiny("tiny", 10));
    for (run, seed) in [("a", "seed=1"), ("b", "seed=2")] {
        place.succeeds(&["run", "tiny.toml", "--set", seed, "--dir", &format!("runs/{run}")]);
    }
    let run = |parts: &str, dir: &str| {
        // A rate too low to change anything.
        let recipe = tiny("tiny", 3)
            .replace(
                "steps = 3",
                &format!("steps = 3\ninit = {{ model = \"runs/a\", parts = [{parts}] }}"),
            )
            .replace("ema = 0.9\n", "")
            .replace("learning_rate = 3e-3", "learning_rate = 1e-30, weight_decay = 0.0");
        place.file("both.toml", &recipe);
        ["run".to_owned(), "both.toml".into(), "--dir".into(), dir.into()]
    };
    let words = run("{ model = \"runs/b\", names = [\"frontend.*\"] }", "runs/both");
    place.succeeds(&words.each_ref().map(String::as_str));
    let (a, b) = (tensors(&place, "a"), tensors(&place, "b"));
    let mut counts = [0, 0];
    for (((name, both), (_, a)), (_, b)) in tensors(&place, "both").iter().zip(&a).zip(&b) {
        let of_b = name.starts_with("frontend.");
        let expected = if of_b { b } else { a };
        let near = both.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-6);
        assert!(near, "{name}: {both:?}, expected {expected:?}");
        counts[usize::from(of_b)] += usize::from(a != b);
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    let told = place.succeeds(&["inspect", "runs/both"]);
    assert!(told.contains("started from runs/a, frontend.* of runs/b"), "{told}");

    let words = run("{ model = \"runs/b\", names = [\"fontend.*\"] }", "runs/none");
    let words = words.each_ref().map(String::as_str);
    place.fails(&words, 2, &["init.parts", "`fontend.*`", "frontend."]);
    place.file("wide.toml", &tiny("tiny", 3).replace("width = 8", "width = 16"));
    place.succeeds(&["run", "wide.toml", "--dir", "runs/wide"]);
    let words = run("{ model = \"runs/wide\", names = [\"frontend.*\"] }", "runs/nothing");
    let words = words.each_ref().map(String::as_str);
    place.fails(&words, 2, &["frontend.", "of runs/wide has shape", "the model wants"]);
}
