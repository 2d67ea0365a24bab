//! Commands of the binary for text.

mod annotate;
mod arguments;
mod embed;
mod generate;
mod tokenizer;

use crate::recipe::MODALITY;
use kiln_hub::ModelDir;
use kiln_train::{
    failure::Result,
    verb::{DATA, Verb, VerbContext},
};

/// The commands.
pub(crate) static VERBS: [Verb; 6] = [
    Verb::new::<generate::Generate>(),
    Verb::new::<embed::Embed>(),
    Verb::new::<embed::Search>(),
    Verb::new::<annotate::Classify>(),
    Verb::new::<annotate::Tag>(),
    Verb::within::<tokenizer::Tokenizer>(DATA),
];

/// Finds a model of text; of another one a message says that it `lacks` what was asked for.
fn text_model(context: &VerbContext<'_>, spec: &str, lacks: &str) -> Result<ModelDir> {
    context.model(spec, MODALITY, lacks, "text")
}
