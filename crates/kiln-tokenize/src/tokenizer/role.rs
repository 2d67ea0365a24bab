//! What special tokens stand for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The role of a special token.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Padding.
    Pad,
    /// The unknown token.
    Unk,
    /// Beginning of sequence, of decoders.
    Bos,
    /// End of sequence, of decoders.
    Eos,
    /// Classification token: begins a text of encoders and stands for all of it.
    Cls,
    /// Separator: ends a text of encoders.
    Sep,
    /// The mask token.
    Mask,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Pad, Self::Unk, Self::Bos, Self::Eos, Self::Cls, Self::Sep, Self::Mask];

    /// Its key in Hugging Face's files.
    pub fn key(self) -> &'static str {
        match self {
            Self::Pad => "pad_token",
            Self::Unk => "unk_token",
            Self::Bos => "bos_token",
            Self::Eos => "eos_token",
            Self::Cls => "cls_token",
            Self::Sep => "sep_token",
            Self::Mask => "mask_token",
        }
    }

    /// How it is usually spelt, the likeliest first.
    pub(super) fn spellings(self) -> &'static [&'static str] {
        match self {
            Self::Pad => &["[PAD]", "<pad>", "<|pad|>"],
            Self::Unk => &["[UNK]", "<unk>", "<|unk|>"],
            Self::Bos => {
                &["<s>", "<bos>", "[BOS]", "<|begin_of_text|>", "<|startoftext|>", "<|endoftext|>"]
            }
            Self::Eos => &["</s>", "<eos>", "[EOS]", "<|end_of_text|>", "<|endoftext|>"],
            Self::Cls => &["[CLS]", "<cls>"],
            Self::Sep => &["[SEP]", "<sep>"],
            Self::Mask => &["[MASK]", "<mask>", "<|mask|>"],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.key().trim_end_matches("_token"))
    }
}
