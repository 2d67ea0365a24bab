//! `kiln data ngram`: an n-gram language model of text.

use clap::{Parser, value_parser};
use kiln_metrics::{error_rate::Normalisation, ngram::KneserNey};
use kiln_train::{
    failure::{Failure, Result},
    verb::{RunVerb, VerbContext},
};
use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
};

/// Train an n-gram language model by modified Kneser-Ney smoothing
#[derive(Debug, Parser)]
#[command(
    name = "ngram",
    after_help = "\
Examples:
  kiln data ngram transcripts.txt --out lm.arpa
  kiln data ngram news.txt notes.txt --order 4 --min-counts 1,2 --out lm.arpa

A sentence a line. Spelling and case must be those of the transcripts that the recogniser writes."
)]
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

impl RunVerb for Ngram {
    fn run(&self, context: &mut VerbContext<'_>) -> Result<()> {
        let mut sentences = Vec::new();
        let normalisation =
            if self.normalise { Normalisation::default() } else { Normalisation::none() };
        for path in &self.files {
            let file = File::open(path).map_err(|error| Failure::io("read", path, error))?;
            for line in BufReader::new(file).lines() {
                let line = line.map_err(|error| Failure::io("read", path, error))?;
                if !line.trim().is_empty() {
                    sentences.push(normalisation.apply(&line));
                }
            }
        }
        let settings =
            KneserNey { order: usize::from(self.order), min_counts: self.min_counts.clone() };
        let trained = settings.train(&sentences)?;
        trained.model.write_arpa(&self.out)?;
        let counts: Vec<String> = trained.model.counts().iter().map(ToString::to_string).collect();
        writeln!(
            context.out,
            "{} sentences, {} words; n-grams by order: {}\nwrote {}",
            trained.sentences,
            trained.words,
            counts.join(", "),
            self.out.display()
        )?;
        Ok(())
    }
}
