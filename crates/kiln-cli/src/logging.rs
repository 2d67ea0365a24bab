//! What is said on standard error while working; results go to standard output.

use std::io::{self, IsTerminal};
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging. `KILN_LOG` (such as `kiln_hub=debug`) overrides the flags.
pub fn start(verbose: u8, quiet: bool) {
    let filter = std::env::var("KILN_LOG").ok().and_then(|filter| filter.parse().ok());
    let filter: EnvFilter = filter.unwrap_or_else(|| EnvFilter::new(level(verbose, quiet)));
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
fn level(verbose: u8, quiet: bool) -> &'static str {
    const OURS: &str = "kiln=info,kiln_train=info,kiln_hub=info,kiln_datasets=info,\
                        kiln_timeseries=info,kiln_speech=info,kiln_text=info,kiln_lm=info,\
                        symphonia_core=off,warn";
    const MORE: &str = "kiln=debug,kiln_train=debug,kiln_hub=debug,kiln_datasets=debug,\
                        kiln_timeseries=debug,kiln_speech=debug,kiln_text=debug,kiln_lm=debug,info";
    match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => OURS,
        (false, 1) => MORE,
        (false, _) => "debug",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_filter() {
        for (verbose, quiet) in [(0, true), (0, false), (1, false), (2, false), (9, false)] {
            let filter = level(verbose, quiet);
            assert!(filter.parse::<EnvFilter>().is_ok(), "{filter}");
        }
    }
}
