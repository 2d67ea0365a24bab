//! Which tokenizer to train.

use super::{
    error::{Result, TokenizerError},
    role::Role,
    special::sentinel,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A pattern that any one character matches, line breaks too, in all of the engines that read it.
pub(super) const CHARACTER: &str = r"[\s\S]";

/// Training configuration of a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerSpec {
    /// The tokenization model.
    pub model: Model,
    /// Special tokens by role, in place of the model's own; an empty text leaves one out.
    pub special: BTreeMap<Role, String>,
    /// More special tokens.
    pub additional: Vec<String>,
    /// The number of sentinels, `<extra_id_0>` and on: tokens for spans that are taken out of a text
    /// and written again.
    pub sentinels: usize,
    /// Minimum frequency of a pair to be merged.
    pub min_count: u64,
    /// Which special tokens stand around a text; as is usual of its kind if absent: both, and of
    /// bytes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub around: Option<Around>,
}

/// Which special tokens stand around a text that is read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Around {
    /// What begins a text and what ends it.
    Both,
    /// What begins it.
    Begin,
    /// What ends it: a decoder's vector of a text is that of a token that always stands there.
    End,
    /// Nothing.
    Nothing,
}

impl Default for TokenizerSpec {
    fn default() -> Self {
        let model = Model::default();
        Self {
            model,
            special: BTreeMap::new(),
            additional: Vec::new(),
            sentinels: 0,
            min_count: 2,
            around: None,
        }
    }
}

/// The tokenization model: BPE, WordPiece, unigram, characters or bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Model {
    /// Byte-level BPE, as in GPT-2: nothing is unknown. Radford et al., 2019.
    ByteBpe {
        /// Tokens, with the special ones.
        #[serde(default = "vocabulary")]
        vocabulary: usize,
    },
    /// BPE (byte-pair encoding) of characters; `▁` stands for a space.
    /// <https://arxiv.org/abs/1508.07909>
    Bpe {
        /// Tokens, with the special ones.
        #[serde(default = "vocabulary")]
        vocabulary: usize,
    },
    /// WordPiece as in BERT: words divided at white space, punctuation and Chinese characters.
    /// <https://arxiv.org/abs/1810.04805>
    WordPiece {
        /// Tokens, with the special ones.
        #[serde(default = "vocabulary")]
        vocabulary: usize,
        /// Whether case and accents are dropped.
        #[serde(default)]
        lowercase: bool,
    },
    /// Unigram language model of subwords; `▁` stands for a space.
    /// <https://arxiv.org/abs/1804.10959>
    Unigram {
        /// Tokens, with the special ones.
        #[serde(default = "vocabulary")]
        vocabulary: usize,
    },
    /// Each character is a token.
    Characters {
        /// Tokens, with the special ones, at most; the most frequent are kept.
        #[serde(default = "vocabulary")]
        vocabulary: usize,
    },
    /// Each byte is a token; nothing is trained.
    Bytes {},
}

fn vocabulary() -> usize {
    8000
}

impl Default for Model {
    fn default() -> Self {
        Self::ByteBpe { vocabulary: vocabulary() }
    }
}

impl Model {
    /// Tokens that are asked for, with the special ones; `None` where the text decides.
    pub fn vocabulary(&self) -> Option<usize> {
        match *self {
            Self::ByteBpe { vocabulary }
            | Self::Bpe { vocabulary }
            | Self::WordPiece { vocabulary, .. }
            | Self::Unigram { vocabulary } => Some(vocabulary),
            Self::Characters { .. } | Self::Bytes {} => None,
        }
    }

    /// The special tokens of models of this kind.
    fn special(&self) -> &'static [(Role, &'static str)] {
        use Role::{Bos, Cls, Eos, Mask, Pad, Sep, Unk};
        match self {
            Self::ByteBpe { .. } | Self::Bytes {} => &[
                (Bos, "<|endoftext|>"),
                (Eos, "<|endoftext|>"),
                (Pad, "<|pad|>"),
                (Mask, "<|mask|>"),
            ],
            Self::WordPiece { .. } => {
                &[(Pad, "[PAD]"), (Unk, "[UNK]"), (Cls, "[CLS]"), (Sep, "[SEP]"), (Mask, "[MASK]")]
            }
            Self::Bpe { .. } | Self::Unigram { .. } | Self::Characters { .. } => {
                &[(Pad, "<pad>"), (Unk, "<unk>"), (Bos, "<s>"), (Eos, "</s>"), (Mask, "<mask>")]
            }
        }
    }

    /// Whether tokens are made of bytes.
    pub(super) fn is_bytes(&self) -> bool {
        matches!(self, Self::ByteBpe { .. } | Self::Bytes {})
    }
}

/// What surrounds a model in a `tokenizer.json`.
#[derive(Clone, Debug)]
pub(super) struct Surroundings<'a> {
    spec: &'a TokenizerSpec,
    /// The special tokens; their ids count from 0 in this order.
    pub special: Vec<String>,
    /// Which of them have a role.
    pub roles: BTreeMap<Role, String>,
}

impl TokenizerSpec {
    /// A tokenizer of this kind with its usual special tokens.
    pub fn new(model: Model) -> Self {
        Self { model, ..Self::default() }
    }

    /// The special tokens that the tokenizer will have.
    pub(super) fn surroundings(&self) -> Result<Surroundings<'_>> {
        let mut roles: BTreeMap<Role, String> = BTreeMap::new();
        let own = self.model.special().iter().map(|(role, text)| (*role, (*text).to_owned()));
        roles.extend(own);
        roles.extend(self.special.clone());
        roles.retain(|_, text| !text.is_empty());
        let mut special: Vec<String> = Vec::new();
        let sentinels: Vec<String> = (0..self.sentinels).map(sentinel).collect();
        for text in roles.values().chain(&self.additional).chain(&sentinels) {
            if text.is_empty() {
                let found = "an empty text".to_owned();
                let expected = "special tokens of at least a character".to_owned();
                return Err(TokenizerError::Setting { key: "additional", found, expected });
            }
            if !special.contains(text) {
                special.push(text.clone());
            }
        }
        if !self.model.is_bytes() && !roles.contains_key(&Role::Unk) {
            return Err(TokenizerError::Setting {
                key: "special.unk",
                found: "left out".to_owned(),
                expected: "a token for characters that the vocabulary lacks".to_owned(),
            });
        }
        let around = Surroundings { spec: self, special, roles };
        if matches!(self.around, Some(Around::Both | Around::Begin | Around::End))
            && around.ends().is_none()
        {
            return Err(TokenizerError::Setting {
                key: "around",
                found: "asked for".to_owned(),
                expected: "special tokens that begin and end a text: `bos` and `eos`".to_owned(),
            });
        }
        Ok(around)
    }
}

impl Surroundings<'_> {
    /// The `tokenizer.json` around a model.
    pub fn file(&self, model: &Value) -> Value {
        let added: Vec<Value> = (0..)
            .zip(&self.special)
            .map(|(id, content): (u32, _)| {
                json!({
                    "id": id, "content": content, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true,
                })
            })
            .collect();
        let [normalizer, pre_tokenizer, decoder] = self.parts();
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": self.post_processor(), "decoder": decoder, "model": model,
        })
    }

    /// What is done before and behind the model: normaliser, division into words, decoder.
    fn parts(&self) -> [Value; 3] {
        match &self.spec.model {
            Model::ByteBpe { .. } | Model::Bytes {} => [Value::Null, byte_level(), byte_level()],
            // SentencePiece takes NFKC, after which Chinese punctuation cannot be written any more.
            Model::Bpe { .. } | Model::Unigram { .. } => {
                [json!({"type": "NFC"}), metaspace_words(), metaspace()]
            }
            Model::WordPiece { lowercase, .. } => [
                json!({
                    "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                    "strip_accents": null, "lowercase": lowercase,
                }),
                json!({"type": "BertPreTokenizer"}),
                json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
            ],
            Model::Characters { .. } => [
                json!({"type": "NFC"}),
                split(&json!({"Regex": CHARACTER})),
                json!({"type": "Fuse"}),
            ],
        }
    }

    /// What begins a text and what ends it.
    fn ends(&self) -> Option<(&str, &str)> {
        let role = |role| self.roles.get(&role).map(String::as_str);
        let encoder = role(Role::Cls).zip(role(Role::Sep));
        encoder.or_else(|| role(Role::Bos).zip(role(Role::Eos)))
    }

    fn post_processor(&self) -> Value {
        // GPT-2 adds nothing around a text.
        let usual = if self.spec.model.is_bytes() { Around::Nothing } else { Around::Both };
        let template =
            self.ends().and_then(|(begin, end)| match self.spec.around.unwrap_or(usual) {
                Around::Both => Some(self.template(Some(begin), Some(end))),
                Around::Begin => Some(self.template(Some(begin), None)),
                Around::End => Some(self.template(None, Some(end))),
                Around::Nothing => None,
            });
        match (self.spec.model.is_bytes(), template) {
            (true, None) => byte_level(),
            (true, Some(template)) => {
                json!({"type": "Sequence", "processors": [byte_level(), template]})
            }
            (false, template) => template.unwrap_or_default(),
        }
    }

    /// `begin A end`, and `begin A end B end` of a pair, B being of type 1; without an end, what
    /// begins the first begins the second, too.
    fn template(&self, begin: Option<&str>, end: Option<&str>) -> Value {
        let special = |text: Option<&str>, kind: u32| {
            text.map(|id| json!({"SpecialToken": {"id": id, "type_id": kind}}))
        };
        let sequence = |id: &str, kind: u32| Some(json!({"Sequence": {"id": id, "type_id": kind}}));
        let between = if end.is_none() { begin } else { None };
        let first = [special(begin, 0), sequence("A", 0), special(end, 0)];
        let second = [special(between, 1), sequence("B", 1), special(end, 1)];
        let single: Vec<Value> = first.into_iter().flatten().collect();
        let pair: Vec<Value> = single.iter().cloned().chain(second.into_iter().flatten()).collect();
        let id = |text: &str| self.special.iter().position(|special| special == text);
        let tokens: Map<String, Value> = [begin, end]
            .into_iter()
            .flatten()
            .map(|text| {
                let entry = json!({"id": text, "ids": [id(text)], "tokens": [text]});
                (text.to_owned(), entry)
            })
            .collect();
        json!({
            "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens,
        })
    }
}

fn byte_level() -> Value {
    json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    })
}

/// The first word of a text is written like the others: with a space before it.
fn metaspace() -> Value {
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true})
}

/// Words begin at spaces; a line break is one of its own.
fn metaspace_words() -> Value {
    let pretokenizers = [split(&json!({"String": "\n"})), metaspace()];
    json!({"type": "Sequence", "pretokenizers": pretokenizers})
}

fn split(pattern: &Value) -> Value {
    json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false})
}
