//! The `kiln` command, as a library so that tests can build it under a name of their own.
//!
//! Three layers: `cli` says what may be typed, `commands` does it, one file a command, and
//! `failure` turns whatever went wrong into a message and an exit code.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cli;
mod commands;
mod failure;
mod logging;
mod modalities;
mod models;
mod recipe_book;
mod units;

use clap::{Parser, error::ErrorKind};
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// Does what the command line says.
pub fn main() -> ExitCode {
    failure::install();
    kiln_kernels::keep_freed_memory();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; a reader that went away is none either.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(failure::USER),
            };
        }
    };
    logging::start(cli.verbose, cli.quiet);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = commands::run(&cli, &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // What was printed before the failure is still worth reading.
            let _ = out.flush();
            failure.report()
        }
    }
}
