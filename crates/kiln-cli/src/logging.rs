//! What is said on standard error while working; results go to standard output.

use kiln_train::modality::Modality;
use std::io::{self, IsTerminal};
use tracing_subscriber::{EnvFilter, fmt};

/// Log targets that belong to no modality.
const CORE: [&str; 4] = ["kiln", "kiln_train", "kiln_hub", "kiln_datasets"];

/// Starts logging. `KILN_LOG` (such as `kiln_hub=debug`) overrides the flags.
pub fn start(verbose: u8, quiet: bool, modalities: &[Modality]) {
    let filter = std::env::var("KILN_LOG").ok().and_then(|filter| filter.parse().ok());
    let filter: EnvFilter =
        filter.unwrap_or_else(|| EnvFilter::new(level(verbose, quiet, modalities)));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let format = fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !plain)
        .with_target(verbose > 1)
        .without_time();
    // Fails only when logging was started before, and then it is already there.
    let _ = format.compact().try_init();
}

/// Our crates speak first; the libraries below them when asked twice.
fn level(verbose: u8, quiet: bool, modalities: &[Modality]) -> String {
    let own = modalities.iter().flat_map(|modality| modality.log_targets);
    let own = CORE.iter().chain(own);
    let silent = modalities.iter().flat_map(|modality| modality.silent_log_targets);
    let all: Vec<String> = match (quiet, verbose) {
        (true, _) => return "error".into(),
        (false, 0) => own
            .map(|target| format!("{target}=info"))
            .chain(silent.map(|target| format!("{target}=off")))
            .chain(["warn".into()])
            .collect(),
        (false, 1) => own.map(|target| format!("{target}=debug")).chain(["info".into()]).collect(),
        (false, _) => return "debug".into(),
    };
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modalities;

    #[test]
    fn every_level_is_a_filter() {
        for (verbose, quiet) in [(0, true), (0, false), (1, false), (2, false), (9, false)] {
            let filter = level(verbose, quiet, modalities::all());
            assert!(filter.parse::<EnvFilter>().is_ok(), "{filter}");
        }
    }
}
