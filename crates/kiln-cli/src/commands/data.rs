//! `kiln data`: what is made of data before training.

use crate::{
    cli::{Data, Ngram},
    failure::{Failure, Result},
};
use kiln_speech::{ngram::KneserNey, transcript::Normalisation};
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
};

/// Does what was asked for.
pub fn run(args: &Data, out: &mut dyn Write) -> Result<()> {
    match args {
        Data::Ngram(args) => ngram(args, out),
    }
}

fn ngram(args: &Ngram, out: &mut dyn Write) -> Result<()> {
    let mut sentences = Vec::new();
    let normalisation =
        if args.normalise { Normalisation::default() } else { Normalisation::none() };
    for path in &args.files {
        let file = File::open(path).map_err(|error| Failure::io("read", path, error))?;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|error| Failure::io("read", path, error))?;
            if !line.trim().is_empty() {
                sentences.push(normalisation.apply(&line));
            }
        }
    }
    let settings =
        KneserNey { order: usize::from(args.order), min_counts: args.min_counts.clone() };
    let trained = settings.train(&sentences)?;
    trained.model.write_arpa(&args.out)?;
    let counts: Vec<String> = trained.model.counts().iter().map(ToString::to_string).collect();
    writeln!(
        out,
        "{} sentences, {} words; n-grams by order: {}\nwrote {}",
        trained.sentences,
        trained.words,
        counts.join(", "),
        args.out.display()
    )?;
    Ok(())
}
