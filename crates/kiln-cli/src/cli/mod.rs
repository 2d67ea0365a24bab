//! What may be typed. Nothing here opens a file: flags are only parsed.

use crate::modalities;
use clap::{ArgMatches, Args, CommandFactory as _, Parser, Subcommand, value_parser};
use clap_complete::Shell;
use kiln_train::{recipe::Device, verb::Verb};
use std::path::PathBuf;

/// Pretrain, adapt, evaluate and run foundation models. A recipe goes in, a run directory comes
/// out, with the model, its numbers beside baselines, and a report.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more on standard error; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors on standard error
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln recipes                                    what can be run
  kiln run timeseries/zero-shot                   train and evaluate; writes runs/zero-shot
  kiln inspect runs/zero-shot                     what came out
  kiln forecast --model runs/zero-shot --input sales.csv --time date --target units --horizon 30

`kiln <command> --help` explains a command. Exit codes: 0 done, 1 failed, 2 a mistake in what was
typed or in a file that was given, 130 interrupted.";

/// Where verbs and what follows them stand in the list of commands.
const VERBS: usize = 100;
const AFTER_VERBS: usize = 200;

/// The whole command line: the commands of this crate and the verbs of all modalities.
pub fn command() -> clap::Command {
    let mut command = Cli::command();
    for (number, verb) in modalities::verbs().enumerate() {
        let own = (verb.command)().display_order(VERBS + number);
        let Some(group) = verb.group else {
            command = command.subcommand(own);
            continue;
        };
        if command.find_subcommand(group.name).is_none() {
            let group = clap::Command::new(group.name)
                .about(group.about)
                .subcommand_required(true)
                .arg_required_else_help(true)
                .display_order(AFTER_VERBS - 1);
            command = command.subcommand(group);
        }
        command = command.mut_subcommand(group.name, |group| group.subcommand(own));
    }
    command
}

/// The verb that was typed, with its arguments; `None` for commands of this crate.
pub fn verb(matches: &ArgMatches) -> Option<(&'static Verb, &ArgMatches)> {
    modalities::verbs().find_map(|verb| {
        let mut below = matches;
        if let Some(group) = verb.group {
            below = below.subcommand_matches(group.name)?;
        }
        Some((verb, below.subcommand_matches((verb.command)().get_name())?))
    })
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a model as a recipe says, evaluate it, write a run directory
    Run(Run),
    /// Read a recipe without training; show parameters, memory and work a step
    Check(Check),
    /// List the recipes there are
    Recipes(Recipes),
    /// Measure a model as a recipe says, beside its baselines
    Evaluate(Evaluate),
    /// Show what a run or a model holds
    #[command(display_order = AFTER_VERBS)]
    Inspect(Inspect),
    /// Show what this machine offers, and what is in the way
    #[command(display_order = AFTER_VERBS + 1)]
    Doctor(Doctor),
    /// Print a completion script for a shell
    #[command(display_order = AFTER_VERBS + 2)]
    Completions(Completions),
}

/// Which recipe, and what to change about it.
#[derive(Debug, Args)]
pub struct RecipeArgs {
    /// A recipe file, or the name of a recipe as `kiln recipes` lists it
    pub recipe: String,
    /// Override a value: a dotted path, list entries by number from 0
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Where to compute; overrides the recipe's `device`
    #[arg(long)]
    pub device: Option<Device>,
}

/// `kiln run`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln run timeseries/zero-shot
  kiln run my-recipe.toml --set stage.0.steps=50 --set seed=7 --dir runs/short
  kiln run my-recipe.toml --resume
  kiln run my-recipe.toml --resume --set stage.0.clip=0.3 --note 'spikes since step 4000'

Ctrl-C writes a checkpoint and prints the command that goes on from it; a second Ctrl-C stops at
once. A run that was killed goes on with --resume as well.")]
pub struct Run {
    /// What to run.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Go on with this run where it stopped; begin when there is none
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
    /// With --resume: a line for the run's logbook, and why the recipe changed, if it did. Steps,
    /// schedule, learning rate, weight decay, clipping, patience and the distances between
    /// validations, checkpoints and log lines may change on the way
    #[arg(long, value_name = "WHY", requires = "resume")]
    pub note: Option<String>,
    /// Delete the run that is in the directory and start over
    #[arg(long)]
    pub overwrite: bool,
    /// Which variants.
    #[command(flatten)]
    pub variants: VariantArgs,
    /// The run directory [default: runs/<name of the recipe>]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Threads to compute with [default: all cores]
    #[arg(long, value_parser = value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

/// Which variants of a recipe.
#[derive(Debug, Args)]
pub struct VariantArgs {
    /// Only this variant of the recipe, and the ones that it starts from; repeat for several
    #[arg(long = "variant", value_name = "NAME")]
    pub names: Vec<String>,
}

/// `kiln check`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln check timeseries/zero-shot
  kiln check my-recipe.toml --set stage.0.batch=256
  kiln check my-recipe.toml --resolved > full.toml     every default written out")]
pub struct Check {
    /// What to check.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Which variants.
    #[command(flatten)]
    pub variants: VariantArgs,
    /// Print the recipe with every default written out, and nothing else
    #[arg(long)]
    pub resolved: bool,
}

/// `kiln recipes`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln recipes --modality timeseries --objective supervised
  kiln recipes --schema > recipe.schema.json           for completion in your editor")]
pub struct Recipes {
    /// Only those of a modality
    #[arg(long)]
    pub modality: Option<String>,
    /// Only those with a stage that has this objective
    #[arg(long)]
    pub objective: Option<String>,
    /// Print the JSON Schema of recipes instead
    #[arg(long, conflicts_with = "objective")]
    pub schema: bool,
    /// Print one name a line, for scripts
    #[arg(long, conflicts_with = "schema")]
    pub names: bool,
    /// A folder of recipes [default: $KILN_RECIPES, ./recipes, and those in this binary]
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// `kiln evaluate`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln evaluate --model runs/zero-shot                        as its own recipe says
  kiln evaluate --model runs/zero-shot timeseries/ett-zero-shot --out ett.json")]
pub struct Evaluate {
    /// A run, a model directory, or a hub id (organisation/name[@revision])
    #[arg(long, short)]
    pub model: String,
    /// The recipe whose evaluation to use [default: the one that the run was made with]
    pub recipe: Option<String>,
    /// Override a value of the recipe
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Where to compute; overrides the recipe's `device`
    #[arg(long)]
    pub device: Option<Device>,
    /// Also write the numbers as JSON
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `kiln inspect`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln inspect runs/zero-shot
  kiln inspect runs/zero-shot/model
  kiln inspect zero-shot --json | jq .warnings")]
pub struct Inspect {
    /// A run, a model directory, or a hub id (organisation/name[@revision])
    pub what: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `kiln doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `kiln completions`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln completions bash > ~/.local/share/bash-completion/completions/kiln
  kiln completions zsh > ~/.zfunc/_kiln
  kiln completions fish > ~/.config/fish/completions/kiln.fish")]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;

    fn typed(line: &str) -> Result<ArgMatches, clap::Error> {
        command().try_get_matches_from(line.split_whitespace())
    }

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::from_arg_matches(&typed(line)?).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn run_takes_overrides_and_flags() {
        let line = "kiln run a.toml --set a.0.b=1 --set c=2 --device cpu --threads 2 --dir d -q";
        let Ok(Command::Run(run)) = parse(line) else { panic!() };
        assert_eq!(run.recipe.recipe, "a.toml");
        assert_eq!(run.recipe.sets, ["a.0.b=1", "c=2"]);
        assert_eq!((run.recipe.device, run.threads), (Some(Device::Cpu), Some(2)));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in [
            "kiln run a --resume --overwrite",
            "kiln run a --note spikes",
            "kiln run a --threads 0",
            "kiln run",
            "kiln",
            "kiln train a",
            "kiln recipes -v -q",
            "kiln forecast --model m --input i --horizon 0",
            "kiln classify --model m --pair b",
            "kiln classify --model m --text a --pair-field b",
            "kiln tag --model m --text a --pair b",
            "kiln forecast --model m --input i --horizon 3 --level 100",
            "kiln completions tcsh-ish",
        ] {
            assert!(typed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn verbs_are_found_alone_and_in_groups() {
        let matches = typed("kiln data ngram a.txt --out a.arpa -q").unwrap();
        let (found, below) = verb(&matches).unwrap();
        assert_eq!((found.command)().get_name(), "ngram");
        assert_eq!(below.get_raw("files").unwrap().count(), 1);
        assert!(verb(&typed("kiln embed --model m --text a").unwrap()).is_some());
        assert!(verb(&typed("kiln doctor").unwrap()).is_none());
        assert!(matches.get_flag("quiet"));
    }
}
