//! Every kind of mistake points at its line and says what was expected.

use super::*;
use crate::recipe::testing::Toy;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

const GOOD: &str = "\
# kiln run toy.toml
name = \"toy\"
modality = \"toy\"
seed = 7
model = { width = 4 }

[data.lines]
path = \"x.txt\"

[[stage]]
steps = 100
batch = 8
objective.masked = { ratio = 0.5 }
optimizer.adamw = { learning_rate = 2e-3, betas = [0.9, 0.95] }
schedule.cosine = { warmup = 10 }

[[evaluation]]
on = \"test\"
";

fn text(text: &str) -> RecipeText {
    RecipeText { path: "toy.toml".into(), text: text.into() }
}

/// The good recipe with one piece of text replaced.
fn with(from: &str, to: &str) -> RecipeText {
    assert_eq!(GOOD.matches(from).count(), 1, "{from}");
    text(&GOOD.replace(from, to))
}

fn mistake(recipe: &RecipeText) -> RecipeError {
    match parse::<Toy>(recipe) {
        Ok(_) => panic!("no mistake was found in\n{}", recipe.text),
        Err(error) => error,
    }
}

/// Line, marked text, message and help of a mistake.
fn seen(recipe: &RecipeText) -> (usize, String, String, String) {
    let error = mistake(recipe);
    let label = error.labels().unwrap().next().unwrap();
    let marked = recipe.text[label.offset()..label.offset() + label.len()].to_owned();
    let help = error.help().map(|help| help.to_string()).unwrap_or_default();
    (error.line().unwrap(), marked, error.message().to_owned(), help)
}

#[track_caller]
fn expect(recipe: RecipeText, line: usize, marked: &str, message: &str, help: &str) {
    let found = seen(&recipe);
    assert_eq!((found.0, found.1.as_str()), (line, marked), "{found:?}");
    assert!(found.2.contains(message), "{found:?}");
    assert!(found.3.contains(help), "{found:?}");
}

#[test]
fn a_good_recipe_is_read() {
    let recipe = parse::<Toy>(&text(GOOD)).unwrap();
    assert_eq!((recipe.seed, recipe.stage[0].batch, recipe.stage[0].accumulate), (7, 8, 1));
    let common = recipe.common();
    assert_eq!((common.stage[0].steps, common.evaluation.len()), (100, 1));
}

#[test]
fn resolving_and_reading_again_changes_nothing() {
    let recipe = parse::<Toy>(&text(GOOD)).unwrap();
    let once = resolved(&recipe).unwrap();
    let again = parse::<Toy>(&text(&once)).unwrap();
    assert_eq!(resolved(&again).unwrap(), once);
    assert_eq!(format!("{again:?}"), format!("{recipe:?}"));
    for key in ["accumulate = 1", "clip = 1.0", "device = \"cpu\"", "epsilon"] {
        assert!(once.contains(key), "{key} in\n{once}");
    }
}

#[test]
fn syntax() {
    let recipe = with("seed = 7", "seed = ");
    assert_eq!(mistake(&recipe).line(), Some(4));
    assert!(mistake(&recipe).message().contains("no TOML"), "{}", mistake(&recipe));
    expect(with("seed = 7", "name = 'again'"), 4, "name", "duplicate key", "");
}

#[test]
fn unknown_keys() {
    expect(with("seed", "sed"), 4, "sed", "unknown key `sed`", "did you mean `seed`?");
    expect(with("batch", "batchsize"), 12, "batchsize", "`batchsize`", "did you mean `batch`?");
    let help = "keys of `stage.0.objective.masked`: `ratio`";
    expect(with("ratio", "share"), 13, "share", "unknown key `share`", help);
    expect(with("warmup", "warm_up"), 15, "warm_up", "`warm_up`", "did you mean `warmup`?");
    expect(with("on = ", "of = 3\non = "), 18, "of", "`of`", "did you mean `on`?");
    let data = with("path = ", "paths = ");
    expect(data, 8, "paths", "unknown key `paths`", "did you mean `path`?");
}

#[test]
fn keys_below_the_wrong_header() {
    let moved = with("path =", "description = 'x'\npath =");
    expect(moved, 8, "description", "`description`", "above the first [header]");
    expect(with("seed = 7", "steps = 7"), 4, "steps", "`steps`", "below [[stage]]");
}

#[test]
fn unknown_choices() {
    let near = "did you mean `adamw`?";
    expect(with("optimizer.adamw", "optimizer.adam"), 14, "adam", "for `stage.0.optimizer`", near);
    let near = "did you mean `cuda`?";
    expect(with("seed = 7", "device = 'cud'"), 4, "'cud'", "for `device`", near);
    let all = "choices: `lines`, `synthetic`";
    expect(with("data.lines", "data.web"), 7, "web", "unknown choice `web` for `data`", all);
}

#[test]
fn wrong_types() {
    let help = "`steps`: Optimizer steps.";
    let text = "is the text \"many\", expected a whole number";
    expect(with("steps = 100", "steps = 'many'"), 11, "'many'", text, help);
    let number = "is the whole number `-1`, expected a whole number, 0 or more";
    expect(with("batch = 8", "batch = -1"), 12, "-1", number, "Examples a micro-batch");
    let number = "is the number `1.5`, expected a whole number";
    expect(with("batch = 8", "batch = 1.5"), 12, "1.5", number, "");
    expect(with("[[stage]]", "[stage]"), 10, "[stage]", "a table, expected a list", "[[stage]]");
    let length = "has length 1, expected an array of length 2";
    expect(with("[0.9, 0.95]", "[0.9]"), 14, "[0.9]", length, "");
    let length = "`stage.0.optimizer.adamw.betas` has 3 entries, expected 2";
    expect(with("[0.9, 0.95]", "[0.9, 0.95, 1]"), 14, "[0.9, 0.95, 1]", length, "");
    let name = "expected a table of settings";
    let help = "write `stage.0.schedule.cosine = {}`";
    let recipe = with("schedule.cosine = { warmup = 10 }", "schedule = 'cosine'");
    expect(recipe, 15, "'cosine'", name, help);
    expect(with("seed = 7", "device = 3"), 4, "3", "a name or a table", "");
    let two = with("schedule.cosine", "schedule.linear = {}\nschedule.cosine");
    let found = seen(&two);
    assert!(found.2.contains("more than one choice"), "{found:?}");
    let none = with("schedule.cosine = { warmup = 10 }", "schedule = {}");
    expect(none, 15, "{}", "makes no choice", "exactly one");
}

#[test]
fn missing_keys() {
    let help = "`steps`: Optimizer steps.";
    expect(with("steps = 100\n", ""), 10, "[[stage]]", "`stage.0` has no `steps`", help);
    let help = "`path`: Where the file is.";
    expect(with("path = \"x.txt\"\n", ""), 7, "[data.lines]", "has no `path`", help);
    let recipe = with("name = \"toy\"\n", "");
    expect(recipe, 2, "modality = \"toy\"", "the recipe has no `name`", "its directory is");
    let error = mistake(&text(""));
    assert!(error.message().contains("has no"), "{error}");
}

#[test]
fn values_out_of_range() {
    let message = "`stage.0.steps` is 0, expected 1 or more";
    expect(with("steps = 100", "steps = 0"), 11, "0", message, "");
    expect(with("warmup = 10", "warmup = 101"), 15, "101", "more than the 100 steps", "");
    expect(with("0.95", "1.5"), 14, "1.5", "less than 1", "");
    expect(with("name = \"toy\"", "name = \"a/b\""), 2, "\"a/b\"", "names a directory", "");
    expect(with("width = 4", "width = 0"), 5, "0", "`model.width` is 0", "");
    let stages = GOOD.split("[[stage]]").next().unwrap();
    expect(text(&format!("stage = []\n{stages}")), 1, "[]", "at least one [[stage]]", "");
}

#[test]
fn several_values_are_all_marked() {
    let recipe = text(&GOOD.replace("steps = 100", "steps = 0").replace("batch = 8", "batch = 0"));
    let error = mistake(&recipe);
    assert_eq!(error.labels().unwrap().count(), 3, "steps, batch and the warm-up: {error}");
    assert!(error.message().starts_with("3 values do not fit"), "{error}");
}

#[test]
fn the_rendered_mistake_shows_file_line_and_help() {
    let error = mistake(&with("batch", "batchsize"));
    let mut rendered = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::none())
        .render_report(&mut rendered, &error)
        .unwrap();
    for expected in ["toy.toml:12:1", "batchsize = 8", "unknown key", "did you mean `batch`?"] {
        assert!(rendered.contains(expected), "{expected} in\n{rendered}");
    }
    // Nothing in the text to point at must not stop the message.
    let mut rendered = String::new();
    GraphicalReportHandler::new().render_report(&mut rendered, &mistake(&text(""))).unwrap();
    assert!(rendered.contains("has no"), "{rendered}");
}

#[test]
fn the_modality_is_known_before_all_else() {
    assert_eq!(modality(&text(GOOD)).unwrap(), "toy");
    assert_eq!(modality(&with("modality = \"toy\"", "modality = 3")).unwrap_err().line(), Some(3));
    let error = modality(&with("modality = \"toy\"\n", "")).unwrap_err();
    assert!(error.to_string().contains("toy.toml, line 2"), "{error}");
    assert!(modality(&text("= 3")).is_err());
}

#[test]
fn nearest_names() {
    let valid = ["learning_rate", "weight_decay", "betas"].map(str::to_owned);
    assert_eq!(nearest("learning-rate", &valid), Some("learning_rate"));
    assert_eq!(nearest("lerning_rate", &valid), Some("learning_rate"));
    assert_eq!(nearest("beta", &valid), Some("betas"));
    assert_eq!(nearest("momentum", &valid), None);
}
