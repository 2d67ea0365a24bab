//! Every recipe of the repository is read, and says in its first line how it is run.

use crate::support::{Place, recipes, tiny, waves};
use std::fs;

#[test]
fn every_recipe_is_understood() {
    let place = Place::new();
    let found = recipes();
    assert!(found.len() >= 12, "only {} recipes found", found.len());
    for recipe in found {
        let text = fs::read_to_string(&recipe).unwrap();
        let name = recipe.file_stem().unwrap().to_string_lossy().into_owned();
        let first = text.lines().next().unwrap();
        let modality = recipe.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        assert!(first.contains(&format!("kiln run recipes/{modality}/{name}.toml")), "{first}");
        let path = recipe.display().to_string();
        let resolved = place.succeeds(&["check", &path, "--resolved"]);
        assert!(resolved.contains(&format!("name = \"{name}\"")), "{resolved}");
        if text.contains("[[variant]]") {
            // A recipe each, one behind the other.
            assert!(resolved.matches("# variant: ").count() > 1, "{resolved}");
            continue;
        }
        // What is resolved can be run again, and resolves to itself.
        place.file("again.toml", &resolved);
        assert_eq!(place.succeeds(&["check", "again.toml", "--resolved"]), resolved);
    }
}

#[test]
fn a_run_leaves_what_it_promises() {
    let place = Place::new();
    place.file("series.csv", &waves(120));
    let printed = place.run(&(tiny("tiny", 40) + EVALUATION));
    assert!(printed.contains("seasonal-naive") && printed.contains("mase"), "{printed}");
    for file in ["recipe.toml", "run.json", "metrics.jsonl", "results.json", "report.html"] {
        assert!(place.path(&format!("runs/tiny/{file}")).exists(), "{file} is missing");
    }
    let results = place.json("runs/tiny/results.json");
    let mse = results.as_array().unwrap().iter().find(|row| row["metric"] == "mse").unwrap();
    assert_eq!(
        (mse["task"].as_str(), mse["dataset"].as_str()),
        (Some("forecast-4"), Some("waves"))
    );
    for baseline in ["naive", "seasonal-naive", "drift", "theta", "ets"] {
        assert!(mse["baselines"][baseline].is_f64(), "{mse}");
    }
    assert!(place.succeeds(&["inspect", "runs/tiny"]).contains("tiny"));
    let again = place.succeeds(&["evaluate", "--model", "runs/tiny"]);
    assert!(again.contains("seasonal-naive"), "{again}");

    let forecast = ["forecast", "--model", "runs/tiny", "--input", "series.csv", "--time", "day"];
    let more = ["--target", "a", "--horizon", "4", "--plot", "out.svg", "--out", "out.csv"];
    place.succeeds(&[&forecast[..], &more].concat());
    let csv = place.read("out.csv");
    assert_eq!(csv.lines().count(), 5, "{csv}");
    assert!(place.read("out.svg").contains("</svg>"));
}

const EVALUATION: &str = r#"
[[evaluation]]
[evaluation.table]
name = "waves"
source = { path = "series.csv", time = "day" }
horizon = 4
"#;

#[test]
fn a_head_that_no_stage_trains_does_not_forecast() {
    let place = Place::new();
    place.file("series.csv", &waves(120));
    let token_only = tiny("tiny", 10)
        .replace("forecast = { dropout = 0.1, quantiles = [0.1, 0.9] }", "token = {}");
    let masked = token_only.replace("supervised = {}", "masked = { ratio = 0.5 }");
    let causal = token_only
        .replace("supervised = {}", "autoregressive = {}")
        .replace("backbone.mixer", "causal = true\nscaler.kind.prefix = 2\nbackbone.transformer")
        .replace("dropout = 0.1 }\ntoken", "heads = 2 }\ntoken");
    for (recipe, kept) in [(masked, "Pretraining"), (causal, "\"forecast\": null")] {
        place.run(&recipe);
        let config = place.read("runs/tiny/model/config.json");
        assert!(config.contains(kept), "{config}");
        let forecast = ["forecast", "--model", "runs/tiny", "--input", "series.csv"];
        let more = ["--time", "day", "--target", "a", "--horizon", "4"];
        place.succeeds(&[&forecast[..], &more].concat());
    }
}
