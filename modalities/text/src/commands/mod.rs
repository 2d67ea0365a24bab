//! Commands of the binary for text.

mod annotate;
mod arguments;
mod embed;
mod generate;
mod tokenizer;

use kiln_train::verb::{DATA, Verb};

/// The commands.
pub(crate) static VERBS: [Verb; 6] = [
    Verb::new::<generate::Generate>(),
    Verb::new::<embed::Embed>(),
    Verb::new::<embed::Search>(),
    Verb::new::<annotate::Classify>(),
    Verb::new::<annotate::Tag>(),
    Verb::within::<tokenizer::Tokenizer>(DATA),
];
