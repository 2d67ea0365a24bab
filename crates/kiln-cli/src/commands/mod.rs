//! One file a command.

mod check;
mod completions;
mod doctor;
mod evaluate;
mod inspect;
mod recipes;
mod run;

use crate::{
    cli::{Cli, Command, RecipeArgs},
    recipe_book::RecipeBook,
};
use kiln_train::{
    failure::Result,
    recipe::{Device, RecipeText},
};
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

impl RecipeArgs {
    /// The recipe's text with all overrides.
    fn read(&self) -> Result<RecipeText> {
        RecipeBook::open(None)?.read(&self.recipe, &overrides(&self.sets, self.device))
    }
}

/// What was typed to override a recipe, its device included.
fn overrides(sets: &[String], device: Option<Device>) -> Vec<String> {
    let device = device.map(|device| format!("device={}", device.name()));
    sets.iter().cloned().chain(device).collect()
}
