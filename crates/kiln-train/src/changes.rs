//! Recipe changes on resume: which keys may change while a run is under way, as OPT's trainers lowered the learning
//! rate and the clipping of a run that had begun to diverge, <https://arxiv.org/abs/2205.01068>.
//!
//! What may change has no memory: it holds from the next step on, and all that was computed stays
//! valid. `batch` and `accumulate` are not of this kind: which examples a step sees follows from
//! both and its number, so that some would be skipped or come twice. A change of data, model,
//! objective or of what is trained makes another run, which can start from this one's model.

use crate::{
    Error, Result,
    checkpoint::Manifest,
    recipe::join_key,
    refusal::{MAY_CHANGE, Refusal},
};
use kiln_core::pattern::matches;
use std::{collections::BTreeMap, path::Path};

/// A key whose value is another now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The recipe's key.
    pub key: String,
    /// The value that the run was started with; `None` where there was none.
    pub was: Option<String>,
    /// The value now.
    pub now: Option<String>,
}

/// What differs between two recipes with every default written out.
///
/// # Errors
/// When one of them is no TOML; `path` is that of the first.
pub fn between(path: &Path, was: &str, now: &str) -> Result<Vec<Change>> {
    let read = |text: &str| {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let problem = error.message().to_owned();
            Error::Damaged { path: path.to_owned(), problem }
        })?;
        let mut values = BTreeMap::new();
        flatten(String::new(), &toml::Value::Table(table), &mut values);
        Ok::<_, Error>(values)
    };
    let (was, mut now) = (read(was)?, read(now)?);
    let mut changes = Vec::new();
    for (key, was) in was {
        let now = now.remove(&key);
        if now.as_ref() != Some(&was) {
            changes.push(Change { key, was: Some(was), now });
        }
    }
    changes.extend(now.into_iter().map(|(key, now)| Change { key, was: None, now: Some(now) }));
    Ok(changes)
}

/// The values of a table by their dotted keys; lists without tables are values.
fn flatten(key: String, value: &toml::Value, values: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) if !table.is_empty() => {
            for (name, value) in table {
                flatten(join_key(&key, name), value, values);
            }
        }
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            for (place, value) in items.iter().enumerate() {
                flatten(join_key(&key, &place.to_string()), value, values);
            }
        }
        value => drop(values.insert(key, value.to_string())),
    }
}

/// The first change that a run in `dir` does not go on with, as an error; `newest` is what its
/// newest checkpoint says, and `noted` whether something says why.
///
/// # Errors
/// When there is one.
pub fn allow(
    dir: &Path,
    changes: &[Change],
    newest: Option<&Manifest>,
    finished: bool,
    noted: bool,
) -> Result<()> {
    let refusal = |change: &Change| match finished {
        true => Some(Refusal::Finished),
        false => refusal(change, newest),
    };
    let refused = changes.iter().find_map(|change| Some((change, refusal(change)?)));
    // That a note is wanted is no news to those whose change is refused in any case.
    let unsaid = changes.first().filter(|_| !noted).map(|change| (change, Refusal::NoNote));
    let Some((Change { key, was, now }, why)) = refused.or(unsaid) else { return Ok(()) };
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".into());
    let (key, was, now) = (key.clone(), value(was), value(now));
    Err(Error::OtherRecipe { dir: dir.to_owned(), key, was, now, why })
}

fn refusal(change: &Change, newest: Option<&Manifest>) -> Option<Refusal> {
    let place = change.key.strip_prefix("stage.").and_then(|rest| rest.split_once('.'));
    let Some((Ok(stage), key)) = place.map(|(stage, key)| (stage.parse::<usize>(), key)) else {
        return Some(Refusal::Fixed);
    };
    if !MAY_CHANGE.iter().any(|pattern| matches(pattern, key)) {
        return Some(Refusal::Fixed);
    }
    let newest = newest?;
    if stage < newest.stage || (stage == newest.stage && newest.finished) {
        return Some(Refusal::StageEnded);
    }
    let steps = change.now.as_ref().and_then(|now| now.parse::<u64>().ok());
    let short = key == "steps" && stage == newest.stage && steps <= Some(newest.stage_step);
    short.then_some(Refusal::StepsDone(newest.stage_step))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAS: &str = "name = 'a'\n[[stage]]\nsteps = 10\nbatch = 2\nfreeze = ['x']\n\
                       schedule.cosine = { warmup = 1, floor = 0.0 }\n\
                       optimizer.adamw = { learning_rate = 0.1, betas = [0.9, 0.99] }\n";

    fn changes(from: &str, to: &str) -> Vec<Change> {
        assert!(WAS.contains(from));
        between(Path::new("recipe.toml"), WAS, &WAS.replace(from, to)).unwrap()
    }

    /// What is said of a change in the middle of the only stage, or of a second one.
    fn said(from: &str, to: &str, stage: usize, finished: bool) -> String {
        let newest = Manifest { stage_step: 6, finished, ..Manifest::new(stage, "one", 0) };
        let changes = changes(from, to);
        let allowed = allow(Path::new("runs/a"), &changes, Some(&newest), false, true);
        allowed.err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn what_differs_is_named() {
        let found = changes("floor = 0.0", "floor = 0.5");
        let expected = Change {
            key: "stage.0.schedule.cosine.floor".into(),
            was: Some("0.0".into()),
            now: Some("0.5".into()),
        };
        assert_eq!(found, [expected]);
        let keys =
            |changes: Vec<Change>| changes.into_iter().map(|one| one.key).collect::<Vec<_>>();
        let other = changes("cosine = { warmup = 1, floor = 0.0 }", "constant = { warmup = 1 }");
        let expected = ["cosine.floor", "cosine.warmup", "constant.warmup"];
        assert_eq!(keys(other), expected.map(|key| format!("stage.0.schedule.{key}")));
        assert_eq!(keys(changes("['x']", "['x', 'y']")), ["stage.0.freeze"]);
        assert!(changes("batch = 2", "batch = 2").is_empty());
    }

    #[test]
    fn what_holds_from_the_next_step_may_change() {
        for (from, to) in [
            ("learning_rate = 0.1", "learning_rate = 0.01"),
            ("cosine = { warmup = 1, floor = 0.0 }", "constant = { warmup = 1 }"),
            ("batch = 2", "batch = 2\nclip = 0.3\nlog_every = 1\npatience = 3"),
            ("steps = 10", "steps = 7"),
        ] {
            assert_eq!(said(from, to, 0, false), "", "{to}");
        }
    }

    #[test]
    fn the_rest_is_refused_with_its_key() {
        for (from, to, stage, finished, expected) in [
            ("batch = 2", "batch = 3", 0, false, "`stage.0.batch` was 2 and is now 3; in a run"),
            ("name = 'a'", "name = 'b'", 0, false, "`name` was \"a\" and is now \"b\""),
            ("['x']", "['y']", 0, false, "`stage.0.freeze` was"),
            ("adamw", "lion", 0, false, "`stage.0.optimizer.adamw.betas` was"),
            ("steps = 10", "steps = 6", 0, false, "is now 6; 6 steps are done"),
            ("steps = 10", "steps = 20", 0, true, "the stage has ended"),
            ("steps = 10", "steps = 20", 1, false, "the stage has ended"),
        ] {
            let said = said(from, to, stage, finished);
            assert!(said.contains(expected), "{to}: {said}");
        }
    }

    #[test]
    fn finished_runs_stay_and_changes_want_a_note() {
        let changes = changes("steps = 10", "steps = 20");
        let dir = Path::new("runs/a");
        let finished = allow(dir, &changes, None, true, true).unwrap_err().to_string();
        assert!(finished.contains("the run is finished"), "{finished}");
        let unsaid = allow(dir, &changes, None, false, false).unwrap_err().to_string();
        assert!(unsaid.contains("with a note"), "{unsaid}");
        allow(dir, &changes, None, false, true).unwrap();
        allow(dir, &[], None, true, false).unwrap();
    }
}
