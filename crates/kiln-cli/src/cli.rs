//! What may be typed. Nothing here opens a file: flags are only parsed.

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::Shell;
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
    /// Forecast the series of a CSV or Parquet file
    Forecast(Forecast),
    /// Write down what is said in recordings
    Transcribe(Transcribe),
    /// Prepare data for training
    #[command(subcommand)]
    Data(Data),
    /// Show what a run or a model holds
    Inspect(Inspect),
    /// Show what this machine offers, and what is in the way
    Doctor(Doctor),
    /// Print a completion script for a shell
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

/// Where to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// All cores of this machine
    Cpu,
    /// The first NVIDIA GPU; needs a binary built with `--features cuda`
    Cuda,
}

impl Device {
    /// As recipes spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// `kiln run`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln run timeseries/zero-shot
  kiln run my-recipe.toml --set stage.0.steps=50 --set seed=7 --dir runs/short
  kiln run my-recipe.toml --resume

Ctrl-C writes a checkpoint and prints the command that goes on from it; a second Ctrl-C stops at
once. A run that was killed goes on with --resume as well.")]
pub struct Run {
    /// What to run.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Go on with this run where it stopped; begin when there is none
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
    /// Delete the run that is in the directory and begin anew
    #[arg(long)]
    pub overwrite: bool,
    /// Only this arm of the recipe, and the ones that it starts from; repeat for several
    #[arg(long = "arm", value_name = "NAME")]
    pub arms: Vec<String>,
    /// The run directory [default: runs/<name of the recipe>]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Threads to compute with [default: all cores]
    #[arg(long, value_parser = value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
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
    /// Print the recipe with every default written out, and nothing else
    #[arg(long)]
    pub resolved: bool,
}

/// `kiln recipes`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln recipes --modality timeseries --objective forecast
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

/// `kiln forecast`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln forecast --model runs/zero-shot --input sales.csv --time date --target units --horizon 30 \\
      --plot out.svg --out out.csv
  kiln forecast --model runs/zero-shot --input shops.parquet --time day --id shop --horizon 14

The distance between rows is inferred from the times. Empty cells are missing values. Columns that
--known names must go on for the horizon: add rows with their future values and empty targets.")]
pub struct Forecast {
    /// A run, a model directory, or a hub id (organisation/name[@revision])
    #[arg(long, short)]
    pub model: String,
    /// A CSV or Parquet file
    #[arg(long, short, value_name = "FILE")]
    pub input: PathBuf,
    /// The column of times [default: rows are taken to be in order]
    #[arg(long, value_name = "COLUMN")]
    pub time: Option<String>,
    /// A column to forecast; repeat for several [default: all columns of numbers]
    #[arg(long = "target", value_name = "COLUMN")]
    pub targets: Vec<String>,
    /// The column that tells series apart, when they stand below each other
    #[arg(long, value_name = "COLUMN")]
    pub id: Option<String>,
    /// Columns whose future is known: holidays, prices set ahead
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub known: Vec<String>,
    /// How many rows to forecast
    #[arg(long, short = 'n', value_name = "ROWS", value_parser = value_parser!(u32).range(1..))]
    pub horizon: u32,
    /// How many future values in a hundred the interval should hold
    #[arg(long, value_name = "PERCENT", default_value = "80", value_parser = percent)]
    pub level: f64,
    /// Draw history and forecast; with several, the name of each is added to the file's
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Write the forecast as CSV: time,series,target,forecast,lower,upper
    #[arg(long, value_name = "FILE.csv")]
    pub out: Option<PathBuf>,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}

/// `kiln transcribe`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln transcribe --model runs/digits call.wav
  kiln transcribe --model runs/digits calls/*.mp3 --format srt --out subtitles
  kiln transcribe --model runs/digits call.wav --lm lm.arpa --alpha 0.6 --beta 1.0 --format json

WAV, FLAC, MP3, OGG and M4A of any rate; several channels are mixed. Long recordings are cut at their
pauses. Several recordings go on after one that cannot be read; the exit code is then 2.")]
pub struct Transcribe {
    /// A run, a model directory, or a hub id (organisation/name[@revision])
    #[arg(long, short)]
    pub model: String,
    /// Recordings
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// What is written
    #[arg(long, short, default_value = "text")]
    pub format: TranscriptFormat,
    /// Write a file a recording into this folder instead of printing
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// A language model in ARPA's format, for a beam search (`kiln data ngram` makes one)
    #[arg(long, value_name = "FILE.arpa")]
    pub lm: Option<PathBuf>,
    /// Only words of this file, white space between them, for a beam search
    #[arg(long, value_name = "FILE")]
    pub lexicon: Option<PathBuf>,
    /// Prefixes that a beam search keeps [default: 64 with --lm, --lexicon or --nbest]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub beam: Option<u32>,
    /// The weight of the language model
    #[arg(long, requires = "lm")]
    pub alpha: Option<f64>,
    /// What each word is given against the language model's liking for few
    #[arg(long, requires = "lm")]
    pub beta: Option<f64>,
    /// Readings in JSON, for recordings that are not cut
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u32).range(1..))]
    pub nbest: u32,
    /// All recordings are of one speaker and line: what a model takes off as those (see
    /// `standardise = "speaker"` in recipes) is measured over all of them, not in each by itself
    #[arg(long)]
    pub one_speaker: bool,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}

/// What `kiln transcribe` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TranscriptFormat {
    /// The words
    Text,
    /// Words with times and confidence, segments, other readings
    Json,
    /// SubRip subtitles
    Srt,
    /// WebVTT subtitles
    Vtt,
}

/// `kiln data`
#[derive(Debug, Subcommand)]
pub enum Data {
    /// Train an n-gram language model by modified Kneser-Ney smoothing
    Ngram(Ngram),
}

/// `kiln data ngram`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln data ngram transcripts.txt --out lm.arpa
  kiln data ngram news.txt notes.txt --order 4 --min-counts 1,2 --out lm.arpa

A sentence a line. Spelling and case must be those of the transcripts that the recogniser writes.")]
pub struct Ngram {
    /// Text files, a sentence a line
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Words of the longest n-gram
    #[arg(long, default_value = "3", value_parser = value_parser!(u8).range(1..=6))]
    pub order: u8,
    /// How often n-grams of order 2, 3, .. have to occur to be kept
    #[arg(long, value_name = "COUNTS", value_delimiter = ',')]
    pub min_counts: Vec<u64>,
    /// Lower case, without punctuation, as transcripts are by default
    #[arg(long)]
    pub normalise: bool,
    /// The model, in ARPA's format
    #[arg(long, short, value_name = "FILE.arpa")]
    pub out: PathBuf,
}

/// A percentage strictly between 0 and 100.
fn percent(text: &str) -> Result<f64, String> {
    match text.trim().trim_end_matches('%').trim().parse::<f64>() {
        Ok(value) if value > 0.0 && value < 100.0 => Ok(value),
        _ => Err("expected a percentage above 0 and below 100, such as 80".into()),
    }
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
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
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
            "kiln run a --threads 0",
            "kiln run",
            "kiln",
            "kiln train a",
            "kiln recipes -v -q",
            "kiln forecast --model m --input i --horizon 0",
            "kiln forecast --model m --input i --horizon 3 --level 100",
            "kiln completions tcsh-ish",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn forecast_lists() {
        let line = "kiln forecast --model m --input i.csv --target a --target b --known c,d \
                    --horizon 3 --level 90%";
        let Ok(Command::Forecast(forecast)) = parse(line) else { panic!() };
        assert_eq!(forecast.targets, ["a", "b"]);
        assert_eq!(forecast.known, ["c", "d"]);
        assert_eq!((forecast.horizon, forecast.level), (3, 90.0));
    }
}
