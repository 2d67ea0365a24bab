//! Bad input ends in one message that names file and cause: no panic, no half-written run.

use crate::support::{Place, tiny, waves};
use std::fs;

/// A place with a recipe and its data, where one thing was changed.
fn broken(change: impl Fn(String) -> String) -> Place {
    let place = Place::new();
    place.file("series.csv", &waves(120));
    place.file("tiny.toml", &change(tiny("tiny", 10)));
    place
}

/// A run that must not begin.
#[track_caller]
fn refused(place: &Place, expected: &[&str]) {
    place.fails(&["run", "tiny.toml"], 2, expected);
    assert!(!place.path("runs/tiny/run.json").exists(), "a run was begun all the same");
}

#[test]
fn an_unknown_key() {
    let place = broken(|recipe| recipe.replace("batch =", "bach ="));
    refused(&place, &["tiny.toml:", "bach", "batch"]);
}

#[test]
fn a_wrong_type() {
    let place = broken(|recipe| recipe.replace("batch = 16", "batch = \"many\""));
    refused(&place, &["tiny.toml:", "many"]);
}

#[test]
fn an_objective_the_model_has_no_head_for() {
    let place = broken(|recipe| recipe.replace("supervised = {}", "masked = {}"));
    refused(&place, &["tiny.toml:", "token head"]);
}

#[test]
fn a_missing_file() {
    let place = broken(|recipe| recipe.replace("series.csv", "nowhere.csv"));
    refused(&place, &["nowhere.csv"]);
}

#[test]
fn tables_that_make_no_sense() {
    let rows = |body: &str| format!("day,a,b\n{body}");
    for (csv, expected) in [
        (String::new(), "series.csv"),
        (rows(""), "series.csv"),
        (rows("2024-01-01,1,2\nyesterday,1,2\n2024-01-03,1,2\n"), "yesterday"),
        (rows("2024-01-01,1,2\n2024-01-02,1,2\n2024-01-02,3,4\n"), "2024-01-02"),
        (rows("2024-01-01,,2\n2024-01-02,,2\n2024-01-03,,4\n"), "`a`"),
    ] {
        let place = broken(|recipe| recipe);
        place.file("series.csv", &csv);
        refused(&place, &[expected]);
    }
}

#[test]
fn missing_values_are_no_mistake() {
    let place = broken(|recipe| recipe);
    let mut csv = String::new();
    for (row, line) in waves(120).lines().enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        let gap = if row % 5 == 2 { "NaN" } else { cells[1] };
        csv += &format!("{},{gap},{}\n", cells[0], cells[2]);
    }
    place.file("series.csv", &csv);
    place.succeeds(&["run", "tiny.toml"]);
}

/// A finished run and the words of a forecast with it.
fn finished() -> Place {
    let place = broken(|recipe| recipe);
    place.succeeds(&["run", "tiny.toml"]);
    place
}

const FORECAST: [&str; 7] =
    ["forecast", "--model", "runs/tiny", "--input", "series.csv", "--time", "day"];

#[test]
fn a_horizon_beyond_the_models() {
    let place = finished();
    let words = [&FORECAST[..], &["--target", "a", "--horizon", "5"]].concat();
    place.fails(&words, 2, &["at most 4 rows", "5"]);
}

#[test]
fn damaged_weights() {
    let place = finished();
    let words = [&FORECAST[..], &["--target", "a", "--horizon", "2"]].concat();
    let path = place.path("runs/tiny/model/model.safetensors");
    let whole = fs::read(&path).unwrap();
    let damage: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.truncate(5),
        |bytes| bytes[20] ^= 0x40,
        |bytes| {
            let last = bytes.len() - 3;
            bytes[last] ^= 0x10;
        },
    ];
    for change in damage {
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        place.fails(&words, 2, &["model.safetensors"]);
    }
    fs::write(&path, whole).unwrap();
    place.succeeds(&words);
}

#[test]
fn a_directory_that_cannot_be_written() {
    let place = broken(|recipe| recipe);
    place.file("taken", "a file where a directory should be");
    let raw = place.fails(&["run", "tiny.toml", "--dir", "taken/run"], 1, &["taken/run"]);
    assert!(raw.lines().count() < 12, "{raw}");
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full() {
    use std::process::Command;
    let place = broken(|recipe| recipe.replace("steps = 10", "steps = 60"));
    let disk = place.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=160k", "tmpfs"]).arg(&disk).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a small disk cannot be mounted here");
        return;
    }
    let output = place.kiln(&["run", "tiny.toml", "--dir", "disk/run"]);
    let leftovers: Vec<_> =
        walk(&disk).into_iter().filter(|name| name.contains("partial")).collect();
    Command::new("umount").arg(&disk).status().unwrap();
    let said = crate::support::text(&output.stderr);
    assert!(!output.status.success() && said.contains("disk/run"), "{said}");
    assert!(said.contains("No space left") && !said.contains("panicked"), "{said}");
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[cfg(unix)]
fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        names.push(entry.path().display().to_string());
        if entry.path().is_dir() {
            names.extend(walk(&entry.path()));
        }
    }
    names
}
