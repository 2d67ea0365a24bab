//! `kiln data tokenizer`: trains a tokenizer.

use super::arguments::TextSplit;
use clap::{Parser, ValueEnum};
use kiln_datasets::Documents;
use kiln_tokenize::{Role, TokenizerSpec, tokenizer::Model};
use kiln_train::{
    failure::{Failure, Result},
    verb::{RunVerb, VerbContext},
};
use std::{collections::BTreeMap, path::PathBuf};

/// Train a tokenizer
#[derive(Debug, Parser)]
#[command(
    name = "tokenizer",
    after_help = "\
Examples:
  kiln data tokenizer corpus.txt --kind byte-bpe --vocabulary 8000 --out tokenizer
  kiln data tokenizer 'shards/*.jsonl' --field body --kind word-piece --lowercase --out tokenizer
  kiln data tokenizer books/ --kind unigram --split blank-lines --special mask=<hide> --out tokenizer

The folder holds tokenizer.json and tokenizer_config.json, which transformers loads as well."
)]
pub struct Tokenizer {
    /// Files, folders or patterns: plain text, .jsonl, .parquet, .tsv, .csv, .tar
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How words are cut into tokens
    #[arg(long, default_value = "byte-bpe")]
    pub kind: TokenizerKind,
    /// Tokens, with the special ones
    #[arg(long, default_value = "8000")]
    pub vocabulary: usize,
    /// Drop case and accents; of word-piece only
    #[arg(long)]
    pub lowercase: bool,
    /// What a document of plain text is
    #[arg(long, default_value = "lines")]
    pub split: TextSplit,
    /// The field or column of the text, of files that have several
    #[arg(long, default_value = "text")]
    pub field: String,
    /// A special token by role (pad, unk, bos, eos, cls, sep, mask); an empty one leaves it out
    #[arg(long = "special", value_name = "ROLE=TOKEN")]
    pub special: Vec<String>,
    /// More special tokens
    #[arg(long = "add", value_name = "TOKEN")]
    pub additional: Vec<String>,
    /// The folder to write
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
}

/// How a tokenizer cuts words into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenizerKind {
    /// Byte-pair encoding of bytes, as in GPT-2
    ByteBpe,
    /// Byte-pair encoding of characters
    Bpe,
    /// WordPiece, as in BERT
    WordPiece,
    /// A unigram language model, as in SentencePiece
    Unigram,
    /// Each character is a token
    Characters,
    /// Each byte is a token
    Bytes,
}

impl RunVerb for Tokenizer {
    fn run(&self, context: &mut VerbContext<'_>) -> Result<()> {
        let vocabulary = self.vocabulary;
        if self.lowercase && self.kind != TokenizerKind::WordPiece {
            return Err(Failure::user(
                "only word-piece can drop case and accents",
                "add `--kind word-piece`, or leave `--lowercase` out",
            ));
        }
        let model = match self.kind {
            TokenizerKind::ByteBpe => Model::ByteBpe { vocabulary },
            TokenizerKind::Bpe => Model::Bpe { vocabulary },
            TokenizerKind::WordPiece => Model::WordPiece { vocabulary, lowercase: self.lowercase },
            TokenizerKind::Unigram => Model::Unigram { vocabulary },
            TokenizerKind::Characters => Model::Characters { vocabulary },
            TokenizerKind::Bytes => Model::Bytes {},
        };
        let additional = self.additional.clone();
        let spec = TokenizerSpec {
            special: special(&self.special)?,
            additional,
            ..TokenizerSpec::new(model)
        };
        let documents = Documents { field: self.field.clone(), ..Documents::new(&self.files) };
        let mut reader = documents.with_split(self.split.into()).read()?;
        let bar = context.spinner();
        let trained = spec.train(&mut reader, &mut |done| {
            bar.set_message(format!("{}, {:.1} MB", done.stage, done.bytes as f64 / 1e6));
        });
        bar.finish_and_clear();
        let tokenizer = trained?;
        tokenizer.write(&self.out)?;
        writeln!(
            context.out,
            "{}\n{} tokens in the vocabulary\nwrote {}",
            reader.tally(),
            tokenizer.vocabulary(),
            self.out.display()
        )?;
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_tokens_are_typed_by_role() {
        let typed = special(&["mask=<hide>".into(), "pad=".into()]).unwrap();
        let expected = [(Role::Mask, "<hide>".to_owned()), (Role::Pad, String::new())];
        assert_eq!(typed, BTreeMap::from(expected));
        assert!(matches!(special(&["musk=<m>".into()]), Err(Failure::User { .. })));
    }
}
