//! One file a command.

mod check;
mod completions;
mod doctor;
mod evaluate;
mod inspect;
mod recipes;
mod run;

use crate::cli::{Cli, Command};
use kiln_train::failure::Result;
use std::io::Write;

/// Does what was typed. Results go to `out`, everything else to standard error.
pub fn run(cli: &Cli, out: &mut dyn Write) -> Result<()> {
    match &cli.command {
        Command::Run(args) => run::run(args, cli.quiet, out),
        Command::Check(args) => check::run(args, out),
        Command::Recipes(args) => recipes::run(args, out),
        Command::Evaluate(args) => evaluate::run(args, out),
        Command::Inspect(args) => inspect::run(args, out),
        Command::Doctor(args) => doctor::run(args, out),
        Command::Completions(args) => completions::run(args, out),
    }
}
