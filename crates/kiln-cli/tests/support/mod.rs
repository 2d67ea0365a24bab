//! The binary in a directory.

use std::{path::Path, process::Command};

/// The binary with what is typed.
pub fn command(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command
        .args(words)
        .current_dir(dir)
        .env_remove("KILN_RECIPES")
        .env("HF_HOME", dir.join("hub-cache"))
        .env("HF_HUB_OFFLINE", "1")
        .env("NO_COLOR", "1");
    command
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs and checks the exit code and what standard error holds.
#[track_caller]
pub fn fails(dir: &Path, words: &[&str], code: i32, expected: &[&str]) {
    let output = command(dir, words).output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
    for one in expected {
        assert!(error.contains(one), "{words:?}: {one:?} is not in\n{error}");
    }
    assert!(!error.contains("panicked"), "{error}");
}

/// Runs, which must succeed; what is printed.
#[track_caller]
pub fn prints(dir: &Path, words: &[&str]) -> String {
    let output = command(dir, words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}
