//! `kiln data`: what is made of data before training.

use super::bar;
use crate::{
    cli::{Data, Ngram, Tokenizer, TokenizerKind},
    failure::{Failure, Result},
};
use kiln_datasets::Documents;
use kiln_metrics::{error_rate::Normalisation, ngram::KneserNey};
use kiln_speech::SpeechError;
use kiln_tokenize::{Role, TokenizerSpec, tokenizer::Model};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Write},
};

/// Does what was asked for.
pub fn run(args: &Data, quiet: bool, out: &mut dyn Write) -> Result<()> {
    match args {
        Data::Ngram(args) => ngram(args, out),
        Data::Tokenizer(args) => tokenizer(args, quiet, out),
    }
}

fn tokenizer(args: &Tokenizer, quiet: bool, out: &mut dyn Write) -> Result<()> {
    let vocabulary = args.vocabulary;
    if args.lowercase && args.kind != TokenizerKind::WordPiece {
        return Err(Failure::user(
            "only word-piece can drop case and accents",
            "add `--kind word-piece`, or leave `--lowercase` out",
        ));
    }
    let model = match args.kind {
        TokenizerKind::ByteBpe => Model::ByteBpe { vocabulary },
        TokenizerKind::Bpe => Model::Bpe { vocabulary },
        TokenizerKind::WordPiece => Model::WordPiece { vocabulary, lowercase: args.lowercase },
        TokenizerKind::Unigram => Model::Unigram { vocabulary },
        TokenizerKind::Characters => Model::Characters { vocabulary },
        TokenizerKind::Bytes => Model::Bytes {},
    };
    let additional = args.additional.clone();
    let spec =
        TokenizerSpec { special: special(&args.special)?, additional, ..TokenizerSpec::new(model) };
    let documents = Documents { field: args.field.clone(), ..Documents::new(&args.files) };
    let mut reader = documents.with_split(args.split.into()).read()?;
    let bar = bar(quiet);
    let trained = spec.train(&mut reader, &mut |done| {
        bar.set_message(format!("{}, {:.1} MB", done.stage, done.bytes as f64 / 1e6));
    });
    bar.finish_and_clear();
    let tokenizer = trained?;
    tokenizer.write(&args.out)?;
    writeln!(
        out,
        "{}\n{} tokens in the vocabulary\nwrote {}",
        reader.tally(),
        tokenizer.vocabulary(),
        args.out.display()
    )?;
    Ok(())
}

/// Special tokens as they were typed: `mask=<mask>`.
fn special(typed: &[String]) -> Result<BTreeMap<Role, String>> {
    let pair = |text: &String| {
        let (name, token) = text.split_once('=')?;
        let role = Role::ALL.into_iter().find(|role| role.to_string() == name.trim())?;
        Some((role, token.to_owned()))
    };
    let wrong = |text: &String| {
        let roles = Role::ALL.map(|role| role.to_string()).join(", ");
        let help = format!("write ROLE=TOKEN, such as mask=<mask>; roles are {roles}");
        Failure::user(format!("`{text}` is no special token"), help)
    };
    typed.iter().map(|text| pair(text).ok_or_else(|| wrong(text))).collect()
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
    let trained = settings.train(&sentences).map_err(SpeechError::from)?;
    trained.model.write_arpa(&args.out).map_err(SpeechError::from)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_tokens_are_typed_by_role() {
        let typed = special(&["mask=<hide>".into(), "pad=".into()]).unwrap();
        let expected = [(Role::Mask, "<hide>".to_owned()), (Role::Pad, String::new())];
        assert_eq!(typed, BTreeMap::from(expected));
        assert_eq!(special(&["musk=<m>".into()]).unwrap_err().code(), crate::failure::USER);
    }
}
