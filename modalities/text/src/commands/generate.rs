//! `kiln generate`: text generation.

use super::arguments::text_model;
use crate::text_generator::{self, Chat, Request};
use clap::{Parser, value_parser};
use kiln_lm::generate::{Beam, Choice, Generation, Sampling};
use kiln_train::{
    dispatch,
    failure::{Failure, Result},
    recipe::Device,
    verb::{RunVerb, VerbContext, write_file},
};
use std::{
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
};

/// Generate text: continue a prompt, or answer it
#[derive(Debug, Parser)]
#[command(
    name = "generate",
    after_help = "\
Examples:
  kiln generate --model runs/shakespeare-characters --prompt 'ROMEO:' --temperature 0.8 --top-k 40
  kiln generate --model runs/translator --prompts english.txt --beam 4 --out chinese.txt
  echo 'Once upon a time' | kiln generate --model organisation/name --stop '.'
  kiln generate --model runs/assistant --chat --prompt 'Who keeps the red boat?'

Without --temperature, --top-k, --top-p, --min-p or --beam the likeliest token is taken each time;
with --repetition-penalty alone, the likeliest after the penalty."
)]
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
    /// System prompt
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,
    /// Stop after generating N tokens
    #[arg(long, value_name = "N", default_value = "200")]
    pub max_new_tokens: usize,
    /// Sample at this temperature: below 1 likely tokens more often, above 1 less
    #[arg(long, value_name = "T", conflicts_with = "beam")]
    pub temperature: Option<f64>,
    /// Top-k sampling: among so many of the likeliest tokens
    #[arg(long, value_name = "N", conflicts_with = "beam")]
    pub top_k: Option<usize>,
    /// Nucleus (top-p) sampling: among the likeliest tokens that together have this probability
    #[arg(long, value_name = "P", conflicts_with = "beam")]
    pub top_p: Option<f64>,
    /// Min-p sampling: among tokens at least this share as likely as the likeliest
    #[arg(long, value_name = "P", conflicts_with = "beam")]
    pub min_p: Option<f64>,
    /// Above 1: tokens seen before become less likely; samples nothing by itself
    #[arg(long, value_name = "X", conflicts_with = "beam")]
    pub repetition_penalty: Option<f64>,
    /// Beam search for the likeliest text, with so many beams
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub beam: Option<u32>,
    /// Stop sequence: end before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Random seed
    #[arg(long, default_value = "42")]
    pub seed: u64,
    /// Int8 weights of linear layers: a quarter of their memory, slower
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

impl RunVerb for Generate {
    /// Generates after each prompt; streams where there is one prompt and no file.
    fn run(&self, context: &mut VerbContext<'_>) -> Result<()> {
        let model = text_model(context, &self.model, "writes nothing")?;
        let request = Request {
            prompts: prompts(self)?,
            chat: self.chat.then(|| Chat { system: self.system.clone() }),
            generation: Generation {
                max_new_tokens: self.max_new_tokens,
                choice: choice(self),
                cache: true,
            },
            stop: self.stop.clone(),
            seed: self.seed,
            int8: self.int8,
        };
        let device = dispatch::available(self.device)?;
        let out = &mut *context.out;
        let streams = request.prompts.len() == 1 && self.out.is_none() && !self.json;
        let mut failed = None;
        let mut watch = |_: usize, piece: &str| {
            if streams && failed.is_none() {
                failed = out.write_all(piece.as_bytes()).and_then(|()| out.flush()).err();
            }
        };
        let texts = text_generator::generate(&model.path, device, &request, &mut watch)
            .map_err(Failure::Error)?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if streams {
            return Ok(writeln!(out)?);
        }
        let mut lines = String::new();
        for (prompt, text) in request.prompts.iter().zip(&texts) {
            if self.json {
                lines += &serde_json::json!({ "prompt": prompt, "text": text }).to_string();
            } else {
                lines += &text.replace('\n', " ");
            }
            lines.push('\n');
        }
        match &self.out {
            Some(path) => write_file(path, &lines),
            None => Ok(out.write_all(lines.as_bytes())?),
        }
    }
}

/// The prompt, or each line of a file; standard input without either.
fn prompts(args: &Generate) -> Result<Vec<String>> {
    if let Some(path) = &args.prompts {
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::io("read", path, error))?;
        let prompts: Vec<String> = text.lines().map(str::to_owned).collect();
        if prompts.is_empty() {
            let message = format!("{} holds no prompts", path.display());
            return Err(Failure::user(message, "write a prompt a line"));
        }
        return Ok(prompts);
    }
    if let Some(prompt) = &args.prompt {
        return Ok(vec![prompt.clone()]);
    }
    let mut text = String::new();
    if !std::io::stdin().is_terminal() {
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|error| Failure::io("read", Path::new("standard input"), error))?;
    }
    Ok(vec![text.trim_end_matches('\n').to_owned()])
}

/// The decoding strategy: sampling where one of its settings is given; a repetition penalty alone
/// stays greedy.
fn choice(args: &Generate) -> Choice {
    let drawn = args.temperature.is_some()
        || args.top_k.is_some()
        || args.top_p.is_some()
        || args.min_p.is_some();
    let plain = Sampling::default();
    match args.beam {
        Some(width) => Choice::Beam(Beam { width: width as usize, ..Beam::default() }),
        None if drawn || args.repetition_penalty.is_some() => Choice::Sample(Sampling {
            temperature: args.temperature.unwrap_or(plain.temperature),
            top_k: if drawn { args.top_k } else { Some(1) },
            top_p: args.top_p,
            min_p: args.min_p,
            repetition_penalty: args.repetition_penalty.unwrap_or(plain.repetition_penalty),
        }),
        None => Choice::Greedy,
    }
}
