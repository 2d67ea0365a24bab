//! Sentences with a tag a token: CoNLL's columns, and rows of tokens and tags.

mod scheme;

pub use scheme::{Entity, TagScheme, entities, to_bio};

use super::{
    example::Tagged,
    files::{Files, Lines},
    read::rows,
    rows::{Cell, Examples, Field, Place, wrong},
};
use crate::{DataError, Result};
use schemars::JsonSchema;
use scheme::{Evidence, chunks_only};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Files of tagged sentences.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaggedSpec {
    /// The files.
    pub files: Files,
    /// File layout of tagged sentences.
    pub layout: TaggedLayout,
    /// How tags mark chunks. All but plain ones are read by the rules of `conlleval`, which know
    /// what to make of a tag that breaks its scheme, and become BIO.
    pub scheme: TagScheme,
}

/// File layout of tagged sentences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TaggedLayout {
    /// A token a line, its columns between spaces or tabs, and a blank line between sentences.
    Conll {
        /// The token's column, from 1.
        #[serde(default = "first")]
        token: usize,
        /// The tag's column, from 1; the last without.
        #[serde(default)]
        tag: Option<usize>,
    },
    /// A sentence a row: lists of tokens and of tags, or text with spaces between them.
    Rows {
        /// The column of tokens: `tokens`, `text`, `text_a`, `words` without a name.
        #[serde(default)]
        tokens: Option<String>,
        /// The column of tags: `tags`, `label`, `labels`, `ner_tags` without a name.
        #[serde(default)]
        tags: Option<String>,
        /// The names of tags, where tags are numbers from 0 on.
        #[serde(default)]
        names: Vec<String>,
    },
}

fn first() -> usize {
    1
}

impl Default for TaggedLayout {
    fn default() -> Self {
        Self::Conll { token: 1, tag: None }
    }
}

/// A sentence as it was written, and where.
struct Sentence {
    path: PathBuf,
    place: Place,
    tagged: Tagged,
}

impl TaggedSpec {
    /// Reads all sentences; chunks come out as BIO.
    ///
    /// # Errors
    /// When a file is missing or not what its layout says, a sentence has more tokens than tags, or
    /// some tags are of chunks and others are not; the error names file and line.
    pub fn read(&self) -> Result<Vec<Tagged>> {
        let sentences: Vec<Sentence> = match &self.layout {
            TaggedLayout::Conll { token, tag } => {
                let columns = Columns::new(*token, *tag)?;
                let mut sentences = Vec::new();
                for path in self.files.located()? {
                    let before = sentences.len();
                    let lines = Lines::open(&path, self.files.encoding)?;
                    conll(&path, lines, &columns, &mut sentences)?;
                    if sentences.len() == before {
                        let what = "there is no sentence";
                        return Err(DataError::Empty { path, what });
                    }
                }
                sentences
            }
            TaggedLayout::Rows { tokens, tags, names } => {
                self.of_rows(tokens, tags, names)?.collect::<Result<_>>()?
            }
        };
        let scheme = match self.scheme {
            TagScheme::Auto => recognise(&sentences)?,
            chosen => chosen,
        };
        let bio = |sentence: Sentence| match scheme {
            TagScheme::Plain => sentence.tagged,
            _ => Tagged { tags: chunks_only(&sentence.tagged.tags), ..sentence.tagged },
        };
        Ok(sentences.into_iter().map(bio).collect())
    }

    fn of_rows<'a>(
        &self,
        tokens: &Option<String>,
        tags: &Option<String>,
        names: &'a [String],
    ) -> Result<Examples<'a, Sentence>> {
        let fields = vec![
            Field::required(tokens, &["tokens", "text", "text_a", "words"], 1),
            Field::required(tags, &["tags", "label", "labels", "ner_tags"], 2),
        ];
        let name = |tag: String| -> Cell<String> {
            match tag.parse::<usize>() {
                Ok(id) if !names.is_empty() => names.get(id).cloned().ok_or_else(|| {
                    format!("the tag {id} has no name: there are {} `names`", names.len())
                }),
                _ => Ok(tag),
            }
        };
        // Only ASCII's space divides: an ideographic space is a token.
        let words =
            |text: &str| text.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect();
        Ok(Box::new(rows(&self.files, fields)?.map(move |row| {
            let row = row?;
            let tagged = || {
                let tokens = row.list(0, words)?;
                let tags =
                    row.list(1, words)?.into_iter().map(name).collect::<Cell<Vec<String>>>()?;
                if tokens.len() != tags.len() {
                    let counts = format!("{} tokens and {} tags", tokens.len(), tags.len());
                    return Err(format!("{counts}, expected as many"));
                }
                Ok(Tagged { tokens, tags })
            };
            let tagged = tagged().map_err(|reason| row.wrong(reason))?;
            Ok(Sentence { path: row.path.to_path_buf(), place: row.place, tagged })
        })))
    }
}

/// Which columns of a line are the token and its tag, from 0.
struct Columns {
    token: usize,
    tag: Option<usize>,
}

impl Columns {
    fn new(token: usize, tag: Option<usize>) -> Result<Self> {
        let from_zero = |key: &str, column: usize| {
            let wrong = || DataError::config(key, column, "a column, counted from 1");
            column.checked_sub(1).ok_or_else(wrong)
        };
        let tag = tag.map(|tag| from_zero("tag", tag)).transpose()?;
        Ok(Self { token: from_zero("token", token)?, tag })
    }

    fn of<'a>(&self, line: &'a str) -> Cell<(&'a str, &'a str)> {
        let cells: Vec<&str> = line.split([' ', '\t']).filter(|cell| !cell.is_empty()).collect();
        // The last column is the tag only where it is not the token.
        let tag = self.tag.unwrap_or(cells.len().saturating_sub(1).max(self.token + 1));
        match (cells.get(self.token), cells.get(tag)) {
            (Some(token), Some(tag)) => Ok((token, tag)),
            _ => {
                let needed = self.token.max(tag) + 1;
                Err(format!("{} columns, expected at least {needed}", cells.len()))
            }
        }
    }
}

/// Adds the sentences of a file of columns.
fn conll(path: &Path, lines: Lines, columns: &Columns, all: &mut Vec<Sentence>) -> Result<()> {
    let mut open = false;
    for line in lines {
        let (line, text) = line?;
        if text.trim_matches([' ', '\t']).is_empty() || text.starts_with("-DOCSTART-") {
            open = false;
            continue;
        }
        let place = Place::Line(line);
        let (token, tag) = columns.of(&text).map_err(|reason| wrong(path, place, reason))?;
        if !open {
            all.push(Sentence { path: path.into(), place, tagged: Tagged::default() });
            open = true;
        }
        if let Some(sentence) = all.last_mut() {
            sentence.tagged.tokens.push(token.to_owned());
            sentence.tagged.tags.push(tag.to_owned());
        }
    }
    Ok(())
}

/// The scheme of all sentences.
fn recognise(sentences: &[Sentence]) -> Result<TagScheme> {
    let mut evidence = Evidence::default();
    for (place, sentence) in sentences.iter().enumerate() {
        evidence.add(place, &sentence.tagged.tags);
    }
    match (evidence.scheme(), evidence.plain.and_then(|place| sentences.get(place))) {
        (None, Some(sentence)) => {
            let reason = "the sentence has a tag that is neither `O` nor like `B-PER`, as others \
                          are; set `scheme` to read the tags all the same";
            Err(wrong(&sentence.path, sentence.place, reason.to_owned()))
        }
        (scheme, _) => Ok(scheme.unwrap_or_default()),
    }
}
