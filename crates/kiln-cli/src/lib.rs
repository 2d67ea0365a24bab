//! The `kiln` command, as a library so that tests can build it under a name of their own.
//!
//! Three layers: `cli` says what may be typed, `commands` does it, one file a command, and
//! `failure` turns whatever went wrong into a message and an exit code. Commands that use a model are
//! the verbs that modalities declare.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cli;
mod commands;
mod failure;
mod logging;
mod modalities;
mod models;
mod recipe_book;
mod units;

use clap::{ArgMatches, FromArgMatches as _, error::ErrorKind};
use kiln_hub::ModelDir;
use kiln_train::{failure::Result, verb::VerbContext};
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// Does what the command line says.
pub fn main() -> ExitCode {
    failure::install();
    kiln_kernels::keep_freed_memory();
    let matches = match cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are no errors; a reader that went away is none either.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(failure::USER),
            };
        }
    };
    let modalities = modalities::all();
    logging::start(matches.get_count("verbose"), matches.get_flag("quiet"), modalities);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = run(&matches, &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // What was printed before the failure is still worth reading.
            let _ = out.flush();
            failure::report(failure)
        }
    }
}

/// Runs the verb that was typed, or the command of this crate.
fn run(matches: &ArgMatches, out: &mut dyn Write) -> Result<()> {
    match cli::verb(matches) {
        Some((verb, below)) => {
            let owner = |model: &ModelDir| -> Result<_> { Ok(models::owner(model)?.name) };
            (verb.run)(below, &mut VerbContext { quiet: matches.get_flag("quiet"), out, owner })
        }
        None => commands::run(&cli::Cli::from_arg_matches(matches)?, out),
    }
}
