//! A stage starts from one model with parts of others.

use crate::support::{Place, tiny, waves};
use serde_json::Value;
use std::fs;

/// The tensors of a run's model, as bytes by name.
fn tensors(place: &Place, run: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(place.path(&format!("runs/{run}/model/model.safetensors"))).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let entries = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    entries
        .map(|(name, entry)| {
            let at = |place: usize| entry["data_offsets"][place].as_u64().unwrap() as usize;
            (name.clone(), bytes[8 + length + at(0)..8 + length + at(1)].to_vec())
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
        assert_eq!(both, if of_b { b } else { a }, "{name}");
        counts[usize::from(of_b)] += usize::from(a != b);
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    let told = place.succeeds(&["inspect", "runs/both"]);
    assert!(told.contains("started from runs/a, frontend.* of runs/b"), "{told}");

    let words = run("{ model = \"runs/b\", names = [\"fontend.*\"] }", "runs/none");
    let words = words.each_ref().map(String::as_str);
    place.fails(&words, 2, &["init.parts", "`fontend.*`", "near it: frontend."]);
    place.file("wide.toml", &tiny("tiny", 3).replace("width = 8", "width = 16"));
    place.succeeds(&["run", "wide.toml", "--dir", "runs/wide"]);
    let words = run("{ model = \"runs/wide\", names = [\"frontend.*\"] }", "runs/none");
    let words = words.each_ref().map(String::as_str);
    place.fails(&words, 2, &["frontend.", "of runs/wide has shape", "the model wants"]);
}
