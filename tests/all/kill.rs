//! A run that is killed at any instant goes on, and ends with the same bits.

use crate::support::{Place, text, tiny, waves};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    fs,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How often runs are killed.
const KILLS: usize = 30;

fn weights(place: &Place, run: &str) -> Vec<u8> {
    fs::read(place.path(&format!("{run}/model/model.safetensors"))).unwrap()
}

fn lines(place: &Place, run: &str) -> usize {
    fs::read_to_string(place.path(&format!("{run}/metrics.jsonl"))).unwrap().lines().count()
}

#[test]
fn killed_runs_end_with_the_same_bits() {
    let place = Place::new();
    place.file("series.csv", &waves(120));
    place.file("tiny.toml", &tiny("tiny", 150));
    let begun = Instant::now();
    place.succeeds(&["run", "tiny.toml", "--dir", "undisturbed"]);
    let whole = begun.elapsed();
    let (expected, logged) = (weights(&place, "undisturbed"), lines(&place, "undisturbed"));

    let mut rng = StdRng::seed_from_u64(1);
    let mut kills = 0;
    let mut runs = 0;
    while kills < KILLS {
        let run = format!("killed-{runs}");
        runs += 1;
        let words = ["run", "tiny.toml", "--resume", "--dir", &run];
        loop {
            let mut child =
                place.command(&words).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
            sleep(whole.mul_f64(rng.random_range(0.02..0.7)));
            let finished = child.try_wait().unwrap().is_some();
            child.kill().unwrap();
            child.wait().unwrap();
            if finished {
                break;
            }
            kills += 1;
            if kills >= KILLS {
                break;
            }
        }
        let end = place.kiln(&words);
        assert!(end.status.success(), "{}", text(&end.stderr));
        assert!(weights(&place, &run) == expected, "{run} ended with other weights");
        assert_eq!(lines(&place, &run), logged, "{run}: lines lost or written twice");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_writes_a_checkpoint_and_says_how_to_go_on() {
    for signal in ["INT", "TERM"] {
        let place = Place::new();
        place.file("series.csv", &waves(120));
        place.file("tiny.toml", &tiny("tiny", 100_000));
        let child = place
            .command(&["run", "tiny.toml"])
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Long enough to be training.
        let metrics = place.path("runs/tiny/metrics.jsonl");
        let begun = Instant::now();
        while fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 3 {
            assert!(begun.elapsed() < Duration::from_secs(60), "training never began");
            sleep(Duration::from_millis(20));
        }
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let said = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains("--resume"), "{said}");
        let checkpoints = fs::read_dir(place.path("runs/tiny/checkpoints")).unwrap().count();
        assert!(checkpoints > 0);
    }
}
