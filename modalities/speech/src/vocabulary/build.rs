//! Vocabularies built from transcripts.

use super::{
    Specials, Vocabulary,
    pieces::{Pieces, Units},
};
use crate::Result;
use kiln_nn::ConfigError;
use std::collections::BTreeSet;
use unicode_normalization::UnicodeNormalization as _;
use unicode_segmentation::UnicodeSegmentation as _;

impl Vocabulary {
    /// Builds a vocabulary from normalised transcripts. Special tokens come first, then the others
    /// in the order of Unicode; pieces of words in the order in which they were merged.
    ///
    /// # Errors
    /// When byte-pair encoding has fewer pieces than there are characters, or a character is a
    /// special token.
    pub fn build<'a>(
        units: &Units,
        specials: Specials,
        transcripts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let mut tokens: Vec<String> = specials.names().map(String::from).collect();
        let transcripts = transcripts.into_iter().map(|text| text.nfc().collect::<String>());
        match units {
            Units::Characters | Units::Graphemes => {
                let mut found = BTreeSet::new();
                for text in transcripts {
                    for word in text.split_whitespace() {
                        match units {
                            Units::Graphemes => {
                                found.extend(word.graphemes(true).map(String::from));
                            }
                            _ => found.extend(word.chars().map(String::from)),
                        }
                    }
                }
                tokens.extend(found);
                Self::new(tokens, specials)
            }
            Units::Bpe(bpe) => {
                ConfigError::positive("bpe.size", bpe.size)?;
                let pieces = Pieces::train(bpe, transcripts)?;
                tokens.extend(pieces.tokens().map(String::from));
                let mut vocabulary = Self::new(tokens, specials)?;
                vocabulary.pieces = Some(pieces.with_ids(&vocabulary.ids)?);
                Ok(vocabulary)
            }
        }
    }
}
