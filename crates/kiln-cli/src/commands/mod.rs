//! One file a command.

mod check;
mod completions;
mod data;
mod doctor;
mod evaluate;
mod forecast;
mod generate;
mod inspect;
mod recipes;
mod run;
mod transcribe;

use crate::{
    cli::{Cli, Command, RecipeArgs},
    failure::{Failure, Result},
    recipe_book::RecipeBook,
};
use kiln_train::recipe::RecipeText;
use std::{io::Write, path::Path};

/// Does what was typed. Results go to `out`, everything else to standard error.
pub fn run(cli: &Cli, out: &mut dyn Write) -> Result<()> {
    match &cli.command {
        Command::Run(args) => run::run(args, cli.quiet, out),
        Command::Check(args) => check::run(args, out),
        Command::Recipes(args) => recipes::run(args, out),
        Command::Evaluate(args) => evaluate::run(args, out),
        Command::Forecast(args) => forecast::run(args, out),
        Command::Generate(args) => generate::run(args, out),
        Command::Transcribe(args) => transcribe::run(args, cli.quiet, out),
        Command::Data(args) => data::run(args, cli.quiet, out),
        Command::Inspect(args) => inspect::run(args, out),
        Command::Doctor(args) => doctor::run(args, out),
        Command::Completions(args) => completions::run(args, out),
    }
}

impl RecipeArgs {
    /// The recipe's text with all overrides.
    fn read(&self) -> Result<RecipeText> {
        let mut sets = self.sets.clone();
        sets.extend(self.device.map(|device| format!("device={}", device.name())));
        RecipeBook::open(None)?.read(&self.recipe, &sets)
    }
}

/// Writes a file that was asked for, in full or not at all.
fn write_file(path: &Path, text: &str) -> Result<()> {
    kiln_hub::write_atomic(path, |out| out.write_all(text.as_bytes())).map_err(Failure::from)
}
