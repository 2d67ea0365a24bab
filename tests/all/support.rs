//! The binary in a directory of its own.

use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};
use tempfile::TempDir;

/// A directory that goes away with the test.
pub struct Place {
    dir: TempDir,
}

impl Place {
    /// An empty directory.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into it.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The text of a file in it.
    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A file of JSON in it.
    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// The binary, run in it.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln-under-test"));
        command
            .args(words)
            .current_dir(self.dir.path())
            .env("HF_HOME", self.path("hub"))
            .env("KILN_CACHE", self.path("cache"))
            .env("HF_HUB_OFFLINE", "1")
            .env("NO_COLOR", "1")
            .env_remove("KILN_RECIPES");
        command
    }

    /// Runs the binary to its end.
    pub fn kiln(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs the binary, which must succeed; what it printed.
    #[track_caller]
    pub fn succeeds(&self, words: &[&str]) -> String {
        let output = self.kiln(words);
        assert!(output.status.success(), "{words:?}:\n{}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs the binary, which must succeed; what it said on standard error.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> String {
        let output = self.kiln(words);
        let said = text(&output.stderr);
        assert!(output.status.success(), "{words:?}:\n{said}");
        said
    }

    /// Runs a recipe, in the place of an earlier run of its name; the table that it printed.
    #[track_caller]
    pub fn run(&self, recipe: &str) -> String {
        self.file("recipe.toml", recipe);
        self.succeeds(&["run", "recipe.toml", "--overwrite"])
    }

    /// Checks the recipe `bad.toml`, which must be refused with a message that holds all of
    /// `expected`.
    #[track_caller]
    pub fn refuses(&self, recipe: &str, expected: &[&str]) {
        self.file("bad.toml", recipe);
        self.fails(&["check", "bad.toml"], 2, expected);
    }

    /// Runs `recipe.toml` in the directory `killed`, kills it once it has written the checkpoint of
    /// a step, and resumes it to its end.
    #[track_caller]
    pub fn kills_and_resumes(&self, step: u64) {
        let words = ["run", "recipe.toml", "--resume", "--dir", "killed"];
        let mut child =
            self.command(&words).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        while !self.path(&format!("killed/checkpoints/step-{step}")).exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
            sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        self.succeeds(&words);
    }

    /// Runs the binary, which must fail with `code` and a message that holds all of `expected`.
    #[track_caller]
    pub fn fails(&self, words: &[&str], code: i32, expected: &[&str]) -> String {
        let output = self.kiln(words);
        // Long messages are wrapped: compare without line breaks and frames.
        let raw = text(&output.stderr);
        let error = raw.replace(['│', '╰', '├', '─', '▶', '×'], " ");
        let error = error.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(code), "{words:?}:\n{raw}");
        for one in expected {
            assert!(error.contains(one), "{words:?}: `{one}` is not in\n{raw}");
        }
        assert!(!error.contains("panicked"), "{raw}");
        raw
    }
}

/// What is typed, in two parts.
pub fn joined<'a>(first: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [first, more].concat()
}

/// Lines of JSON.
pub fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether a table that was printed holds all of these.
#[track_caller]
pub fn holds(table: &str, all: &[&str]) {
    for one in all {
        assert!(table.contains(one), "`{one}` is not in\n{table}");
    }
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The recipe of a text model of one small block: lines of `[data]` and the tables below it, of its
/// parts and of its only stage.
pub fn text_recipe(name: &str, data: &str, parts: &str, stage: &str) -> String {
    format!(
        r#"name = "{name}"
modality = "text"

[data]
{data}

[model.parts]
width = 16
backbone = {{ layers = 1, heads = 2, final_norm = true }}
{parts}

[[stage]]
batch = 4
optimizer.adamw = {{ learning_rate = 1e-2 }}
{stage}
"#
    )
}

/// The parts of an encoder-decoder of small blocks.
pub const ENCODER_DECODER: &str =
    "causal = false\ndecoder = { layers = 1, heads = 2, final_norm = true }";

/// A table of texts that are rated 0 (a sad boat) and 1 (a red boat) in turn.
pub fn rated_texts(rows: usize) -> String {
    let row = |row: usize| {
        let good = row % 2;
        format!("{good}\t{} boat in the harbour number {row}\n", ["a sad", "a red"][good])
    };
    format!("label\ttext\n{}", (0..rows).map(row).collect::<String>())
}

/// The recipe of a model that trains in a second or two; dropout, warm-up, a moving average and an
/// epoch border every few steps are in it, since resuming must get them right.
pub fn tiny(name: &str, steps: u64) -> String {
    format!(
        r#"name = "{name}"
modality = "timeseries"

[data.table]
source = {{ path = "series.csv", time = "day" }}

[model.parts]
context = 16
horizon = 4
width = 8
frontend = {{ patch = 4, positions = "none" }}
backbone.mixer = {{ layers = 1, dropout = 0.1 }}
forecast = {{ dropout = 0.1, quantiles = [0.1, 0.9] }}

[[stage]]
objective.supervised = {{}}
steps = {steps}
batch = 16
ema = 0.9
optimizer.adamw = {{ learning_rate = 3e-3 }}
schedule.cosine = {{ warmup = 3 }}
checkpoint_every = 7
validate_every = 20
log_every = 5
"#
    )
}

/// Two noisy waves, a day a row.
pub fn waves(rows: usize) -> String {
    let start = 18_000;
    let mut csv = String::from("day,a,b\n");
    for row in 0..rows {
        let phase = row as f64 * 0.9;
        let noise = ((row * 7919) % 101) as f64 / 101.0;
        csv += &format!("{},{:.4},{:.4}\n", date(start + row), phase.sin() + 0.2 * noise, noise);
    }
    csv
}

/// A date, so many days after the first of January 1970.
fn date(days: usize) -> String {
    // Howard Hinnant's civil calendar.
    let z = days as i64 + 719_468;
    let era = z / 146_097;
    let day_of_era = z - era * 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

/// The recipes of this repository.
pub fn recipes() -> Vec<PathBuf> {
    let root = fs::canonicalize("../recipes").unwrap();
    let mut found = Vec::new();
    for modality in fs::read_dir(root).unwrap() {
        for recipe in fs::read_dir(modality.unwrap().path()).unwrap() {
            found.push(recipe.unwrap().path());
        }
    }
    found.sort();
    found
}
