//! What happened to a run is told, and what may change on the way.

use crate::support::{Place, lines, tiny, waves};
use serde_json::Value;
use std::fs;

/// A run of twenty steps, as a kill after its second checkpoint, at step 14, leaves it.
fn stopped() -> Place {
    let place = Place::new();
    place.file("series.csv", &waves(120));
    place.file("tiny.toml", &tiny("tiny", 20));
    place.succeeds(&["run", "tiny.toml"]);
    for gone in ["checkpoints/step-20", "model"] {
        fs::remove_dir_all(place.path("runs/tiny").join(gone)).unwrap();
    }
    for gone in ["results.json", "report.html"] {
        fs::remove_file(place.path("runs/tiny").join(gone)).unwrap();
    }
    let record = place.path("runs/tiny/run.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(record, text.replace("\"status\": \"finished\"", "\"status\": \"running\"")).unwrap();
    place
}

#[test]
fn a_run_goes_on_with_another_learning_rate_and_says_why() {
    let place = stopped();
    let change = "stage.0.optimizer.adamw.learning_rate=1e-3";
    let words = ["run", "tiny.toml", "--resume", "--set", change, "--set", "stage.0.steps=24"];
    place.fails(&words, 2, &["stage.0.optimizer.adamw.learning_rate", "0.003", "0.001", "--note"]);
    place.succeeds(&[&words[..], &["--note", "it was restless"]].concat());

    let book = lines(&place.read("runs/tiny/logbook.jsonl"));
    let events: Vec<_> = book.iter().map(|line| line["event"].as_str().unwrap()).collect();
    let began = ["begun", "stage-begun", "checkpoint", "checkpoint", "checkpoint", "stage-ended"];
    let went_on = ["finished", "resumed", "changed", "changed"];
    let end = ["checkpoint", "checkpoint", "checkpoint", "stage-ended", "finished"];
    assert_eq!(events, [&began[..], &went_on, &end].concat());
    let changed = &book[8];
    assert_eq!(changed["key"], "stage.0.optimizer.adamw.learning_rate");
    assert_eq!((&changed["from"], &changed["to"]), (&"0.003".into(), &"0.001".into()));
    assert_eq!((&changed["step"], &changed["note"]), (&14.into(), &"it was restless".into()));
    // The step before the change is logged with the old rate, the ones after with the new one.
    let rates: Vec<_> = lines(&place.read("runs/tiny/metrics.jsonl"))
        .iter()
        .filter(|line| line["kind"] == "step")
        .map(|line| (line["step"].as_u64().unwrap(), line["learning_rate"].as_f64().unwrap()))
        .collect();
    let rate = |step| rates.iter().find(|(at, _)| *at == step).unwrap().1;
    assert!(rate(10) > 1e-3 && rate(15) < 1e-3, "{rates:?}");
    assert_eq!(rates.last().unwrap().0, 24);
    let recipe = place.read("runs/tiny/recipe.toml");
    assert!(recipe.contains("learning_rate = 0.001") && recipe.contains("steps = 24"), "{recipe}");

    let told = place.succeeds(&["inspect", "runs/tiny"]);
    assert!(told.contains("changed from 0.003 to 0.001: it was restless"), "{told}");
    let json: Value =
        serde_json::from_str(&place.succeeds(&["inspect", "runs/tiny", "--json"])).unwrap();
    assert_eq!(json["logbook"].as_array().unwrap().len(), book.len());
    let report = place.read("runs/tiny/report.html");
    assert!(report.contains("Logbook") && report.contains("it was restless"));
    // A run that is finished stays as it is.
    let more = ["run", "tiny.toml", "--resume", "--note", "more", "--set", "stage.0.steps=30"];
    place.fails(&more, 2, &["the run is finished"]);
}

#[test]
fn what_would_be_another_run_is_refused() {
    let place = stopped();
    for (change, expected) in [
        ("stage.0.batch=8", "`stage.0.batch` was 16 and is now 8"),
        ("seed=7", "`seed` was 42 and is now 7"),
        ("model.parts.width=4", "`model.parts.width` was 8 and is now 4"),
        ("stage.0.steps=14", "14 steps are done"),
    ] {
        let words = ["run", "tiny.toml", "--resume", "--note", "why not", "--set", change];
        place.fails(&words, 2, &[expected]);
    }
    place.succeeds(&["run", "tiny.toml", "--resume", "--note", "only this"]);
    let told = place.succeeds(&["inspect", "runs/tiny"]);
    assert!(told.contains("step 14     note: only this"), "{told}");
}
