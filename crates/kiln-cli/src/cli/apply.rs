//! What may be typed to use a model.

use super::Device;
use clap::{Args, ValueEnum, value_parser};
use std::path::PathBuf;

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

/// `kiln generate`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln generate --model runs/shakespeare-characters --prompt 'ROMEO:' --temperature 0.8 --top-k 40
  kiln generate --model runs/translator --prompts english.txt --beam 4 --out chinese.txt
  echo 'Once upon a time' | kiln generate --model organisation/name --stop '.'
  kiln generate --model runs/assistant --chat --prompt 'Who keeps the red boat?'

Without --temperature, --top-k, --top-p, --min-p or --beam the likeliest token is taken each time;
with --repetition-penalty alone, the likeliest after the penalty.")]
pub struct Generate {
    /// A run, a model directory, or a hub id (organisation/name[@revision])
    #[arg(long, short)]
    pub model: String,
    /// What the text begins with, or what is answered [default: standard input]
    #[arg(long, short, conflicts_with = "prompts")]
    pub prompt: Option<String>,
    /// A file with a prompt a line, all written at once
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// Answer: a prompt is what a user says, written by the model's chat template
    #[arg(long)]
    pub chat: bool,
    /// Say this to the assistant before each prompt
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,
    /// Tokens at most
    #[arg(long, value_name = "N", default_value = "200")]
    pub most: usize,
    /// Draw tokens by chance: below 1 likely ones more often, above 1 less
    #[arg(long, value_name = "T", conflicts_with = "beam")]
    pub temperature: Option<f64>,
    /// Draw among so many of the likeliest tokens
    #[arg(long, value_name = "N", conflicts_with = "beam")]
    pub top_k: Option<usize>,
    /// Draw among the likeliest tokens that together have this probability
    #[arg(long, value_name = "P", conflicts_with = "beam")]
    pub top_p: Option<f64>,
    /// Draw among tokens at least this share as likely as the likeliest
    #[arg(long, value_name = "P", conflicts_with = "beam")]
    pub min_p: Option<f64>,
    /// Above 1: tokens that were seen become less likely; draws nothing by itself
    #[arg(long, value_name = "X", conflicts_with = "beam")]
    pub repetition_penalty: Option<f64>,
    /// Search for the likeliest text, with so many kept at each step
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub beam: Option<u32>,
    /// End before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// What draws follow from
    #[arg(long, default_value = "42")]
    pub seed: u64,
    /// Hold the weights of linear layers as eight-bit integers: a quarter of their memory, slower
    #[arg(long)]
    pub int8: bool,
    /// Write prompts and texts as JSON lines
    #[arg(long)]
    pub json: bool,
    /// Write to this file, a text a line, instead of printing
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}

/// A percentage strictly between 0 and 100.
fn percent(text: &str) -> Result<f64, String> {
    match text.trim().trim_end_matches('%').trim().parse::<f64>() {
        Ok(value) if value > 0.0 && value < 100.0 => Ok(value),
        _ => Err("expected a percentage above 0 and below 100, such as 80".into()),
    }
}
