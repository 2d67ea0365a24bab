//! One file a command.

mod annotate;
mod check;
mod completions;
mod data;
mod doctor;
mod embed;
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
    models,
    recipe_book::RecipeBook,
};
use indicatif::{ProgressBar, ProgressStyle};
use kiln_hub::ModelDir;
use kiln_text::modality::TEXT;
use kiln_train::{modality::Modality as _, recipe::RecipeText};
use std::{
    io::{IsTerminal as _, Write},
    path::Path,
    time::Duration,
};

/// Does what was typed. Results go to `out`, everything else to standard error.
pub fn run(cli: &Cli, out: &mut dyn Write) -> Result<()> {
    match &cli.command {
        Command::Run(args) => run::run(args, cli.quiet, out),
        Command::Check(args) => check::run(args, out),
        Command::Recipes(args) => recipes::run(args, out),
        Command::Evaluate(args) => evaluate::run(args, out),
        Command::Forecast(args) => forecast::run(args, out),
        Command::Generate(args) => generate::run(args, out),
        Command::Embed(args) => embed::run(args, cli.quiet, out),
        Command::Search(args) => embed::search(args, cli.quiet, out),
        Command::Classify(args) => annotate::classify(args, cli.quiet, out),
        Command::Tag(args) => annotate::tag(args, cli.quiet, out),
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
    kiln_host::write_atomic(path, |out| out.write_all(text.as_bytes())).map_err(Failure::from)
}

/// Finds a model of text; of another one a message says that it `lacks` what was asked for.
fn text_model(spec: &str, lacks: &str) -> Result<ModelDir> {
    let model = models::find(spec)?;
    let modality = models::owner(&model)?;
    if modality.name() == TEXT.name() {
        return Ok(model);
    }
    Err(Failure::user(
        format!("{} {lacks}: it is for {}", model.path.display(), modality.name()),
        "name a model that was trained on text",
    ))
}

/// What is being done, on a terminal.
fn bar(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
