//! Special tokens by what they stand for.

use super::{
    error::{Result, TokenizerError},
    role::Role,
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path};
use tokenizers::Tokenizer;

/// A special token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialToken {
    /// Its text.
    pub text: String,
    /// Its id.
    pub id: u32,
}

/// The special tokens of a tokenizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    roles: BTreeMap<Role, SpecialToken>,
    additional: Vec<SpecialToken>,
}

impl SpecialTokens {
    /// The token of a role.
    pub fn get(&self, role: Role) -> Option<&SpecialToken> {
        self.roles.get(&role)
    }

    /// The special tokens without a role, by id.
    pub fn additional(&self) -> &[SpecialToken] {
        &self.additional
    }

    /// The first and the last id of T5's sentinels, `<extra_id_0>` and on, where there are any and
    /// their ids follow each other.
    pub fn sentinels(&self) -> Option<[u32; 2]> {
        let id = |number: usize| {
            let text = sentinel(number);
            Some(self.additional.iter().find(|token| token.text == text)?.id)
        };
        let ids: Vec<u32> = (0..).map_while(id).collect();
        let (first, last) = (*ids.first()?, *ids.last()?);
        let step = |pair: &[u32]| pair[0].abs_diff(pair[1]) == 1;
        (ids.windows(2).all(step) && first.abs_diff(last) as usize + 1 == ids.len())
            .then_some([first, last])
    }

    /// All ids, sorted.
    pub fn ids(&self) -> Vec<u32> {
        let tokens = self.roles.values().chain(&self.additional);
        let mut ids: Vec<u32> = tokens.map(|token| token.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// As Hugging Face's files have them.
    pub(super) fn write(&self, config: &mut Map<String, Value>) {
        for (role, token) in &self.roles {
            config.insert(role.key().to_owned(), token.text.clone().into());
        }
        if !self.additional.is_empty() {
            let texts = self.additional.iter().map(|token| token.text.clone()).collect();
            config.insert("additional_special_tokens".to_owned(), texts);
        }
    }

    /// Those that a file names, and what `tokenizer` marks as special besides. Without a file they
    /// are guessed by their spelling.
    pub(super) fn find(
        tokenizer: &Tokenizer,
        config: Option<(&Path, &Map<String, Value>)>,
    ) -> Result<Self> {
        let mut roles = BTreeMap::new();
        for role in Role::ALL {
            let Some((path, config)) = config else { break };
            let Some(text) = config.get(role.key()).and_then(text_of) else { continue };
            let Some(id) = tokenizer.token_to_id(text) else {
                let (path, token) = (path.to_owned(), text.to_owned());
                return Err(TokenizerError::UnknownSpecial { path, role, token });
            };
            roles.insert(role, SpecialToken { text: text.to_owned(), id });
        }
        if roles.is_empty() {
            for role in Role::ALL {
                let spelt = role.spellings().iter();
                let found = spelt.filter_map(|text| Some((*text, tokenizer.token_to_id(text)?)));
                if let Some((text, id)) = found.take(1).last() {
                    roles.insert(role, SpecialToken { text: text.to_owned(), id });
                }
            }
        }
        let mut additional: Vec<SpecialToken> = tokenizer
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(id, token)| token.special && roles.values().all(|known| known.id != *id))
            .map(|(id, token)| SpecialToken { text: token.content, id })
            .collect();
        additional.sort_by_key(|token| token.id);
        Ok(Self { roles, additional })
    }
}

/// The sentinel of a span number, as in T5.
pub(super) fn sentinel(number: usize) -> String {
    format!("<extra_id_{number}>")
}

/// A token is its text, or an object that holds it.
fn text_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}
