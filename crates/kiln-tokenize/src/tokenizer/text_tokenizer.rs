//! A tokenizer: text to ids and back.

use super::{
    chunk::Cut,
    error::{Result, TokenizerError, encoding},
    merges::Merges,
    role::Role,
    special::SpecialTokens,
};
use kiln_host::{FileError, write_atomic};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::{fs, io, path::Path, sync::Arc};
use tokenizers::{Encoding, Tokenizer};

/// The tokenizer's file in a model directory.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Hugging Face's settings of the tokenizer.
pub(super) const CONFIG: &str = "tokenizer_config.json";
/// Where older models name their special tokens.
const SPECIAL: &str = "special_tokens_map.json";
/// Where newer models keep a long chat template.
pub(super) const TEMPLATE: &str = "chat_template.jinja";

/// Tokenizer: text to ids and back, with special tokens and chat template.
#[derive(Clone, Debug)]
pub struct TextTokenizer {
    pub(super) tokenizer: Tokenizer,
    special: SpecialTokens,
    chat_template: Option<String>,
    /// The rest of `tokenizer_config.json`, kept for writing it again.
    config: Map<String, Value>,
    pub(super) cut: Cut,
    pub(super) merges: Option<Arc<Merges>>,
    fingerprint: String,
}

impl TextTokenizer {
    /// Opens a model directory or a `tokenizer.json`. Truncation and padding that it asks for are
    /// dropped: batches decide their length.
    ///
    /// # Errors
    /// When there is none, when it is damaged, and when its special tokens are not in its vocabulary.
    pub fn open(path: &Path) -> Result<Self> {
        let file = if path.is_dir() { path.join(TOKENIZER_FILE) } else { path.to_owned() };
        let beside = |name: &str| file.parent().unwrap_or(Path::new("")).join(name);
        let text = read(&file)?.ok_or_else(|| TokenizerError::Missing { path: path.into() })?;
        let wrong =
            |path: &Path, reason: String| TokenizerError::Invalid { path: path.into(), reason };
        let tokenizer: Tokenizer =
            text.parse().map_err(|error: tokenizers::Error| wrong(&file, error.to_string()))?;
        let (mut config, mut named) = (Map::new(), None);
        // tokenizer_config.json takes precedence.
        for name in [SPECIAL, CONFIG] {
            let path = beside(name);
            if let Some(text) = read(&path)? {
                let map: Map<String, Value> =
                    serde_json::from_str(&text).map_err(|error| wrong(&path, error.to_string()))?;
                config.extend(map);
                named = Some(path);
            }
        }
        let template = match config.get("chat_template").and_then(Value::as_str) {
            Some(template) => Some(template.to_owned()),
            None => read(&beside(TEMPLATE))?,
        };
        let named = named.as_deref().map(|path| (path, &config));
        let special = SpecialTokens::find(&tokenizer, named)?;
        Self::new(tokenizer, special, template, config)
    }

    pub(super) fn new(
        mut tokenizer: Tokenizer,
        special: SpecialTokens,
        chat_template: Option<String>,
        config: Map<String, Value>,
    ) -> Result<Self> {
        tokenizer.with_truncation(None).map_err(encoding)?.with_padding(None);
        let json = tokenizer.to_string(false).map_err(encoding)?;
        let fingerprint = Sha256::digest(&json).iter().map(|byte| format!("{byte:02x}")).collect();
        let json: Value = serde_json::from_str(&json).unwrap_or_default();
        let cut = Cut::of(&tokenizer, &json);
        let merges = Merges::of(&json["model"]).map(Arc::new);
        Ok(Self { tokenizer, special, chat_template, config, cut, merges, fingerprint })
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json`, from which `transformers.AutoTokenizer`
    /// loads it.
    ///
    /// # Errors
    /// When the folder cannot be made or written to.
    pub fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).map_err(FileError::new("create", dir))?;
        let text = self.tokenizer.to_string(true).map_err(encoding)?;
        let mut config = self.config.clone();
        // Other tokenizer classes may need files that we do not write.
        config.insert("tokenizer_class".to_owned(), "PreTrainedTokenizerFast".into());
        for (key, value) in [
            ("clean_up_tokenization_spaces", json!(false)),
            ("model_max_length", json!(1_000_000_000_u32)),
        ] {
            config.entry(key).or_insert(value);
        }
        self.special.write(&mut config);
        if let Some(template) = &self.chat_template {
            config.insert("chat_template".to_owned(), template.clone().into());
        }
        let config = serde_json::to_string_pretty(&config)
            .map_err(|error| TokenizerError::Encoding(error.to_string()))?;
        for (name, text) in [(TOKENIZER_FILE, text), (CONFIG, config)] {
            write_atomic(&dir.join(name), |out| out.write_all(text.as_bytes()))?;
        }
        Ok(())
    }

    /// The vocabulary size: one more than the highest id.
    pub fn vocabulary(&self) -> usize {
        let highest = self.tokenizer.get_vocab(true).into_values().max();
        highest.map_or(0, |id| id as usize + 1)
    }

    /// The underlying `tokenizers` tokenizer.
    pub fn inner(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The special tokens.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// The id of a role.
    ///
    /// # Errors
    /// When the tokenizer has no token for it; the error says that `purpose` needs one.
    pub fn need(&self, role: Role, purpose: &'static str) -> Result<u32> {
        let token = self.special.get(role);
        token.map(|token| token.id).ok_or(TokenizerError::NoSpecial { role, purpose })
    }

    /// The id of the begin token, if any: `bos`, or else `cls`.
    pub fn begin(&self) -> Option<u32> {
        self.either(Role::Bos, Role::Cls)
    }

    /// The id of the end token, if any: `eos`, or else `sep`.
    pub fn end(&self) -> Option<u32> {
        self.either(Role::Eos, Role::Sep)
    }

    fn either(&self, first: Role, second: Role) -> Option<u32> {
        let token = self.special.get(first).or_else(|| self.special.get(second));
        token.map(|token| token.id)
    }

    /// The chat template (Jinja), where the model has one.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The same tokenizer with this chat template.
    pub fn with_chat_template(&self, template: &str) -> Self {
        Self { chat_template: Some(template.to_owned()), ..self.clone() }
    }

    /// A hash that two tokenizers share only if they encode alike.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Encodes a text: ids, offsets in bytes, words. With `add_special`, the special tokens that
    /// the model expects around it are added.
    ///
    /// # Errors
    /// When the tokenizer has no unknown token and needs one.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Encoding> {
        self.tokenizer.encode(text, add_special).map_err(encoding)
    }

    /// Encodes two texts as one sequence, such as a question and its context.
    ///
    /// # Errors
    /// As [`TextTokenizer::encode`].
    pub fn encode_pair(&self, first: &str, second: &str, add_special: bool) -> Result<Encoding> {
        self.tokenizer.encode((first, second), add_special).map_err(encoding)
    }

    /// Encodes texts on all cores, in their order.
    ///
    /// # Errors
    /// As [`TextTokenizer::encode`].
    pub fn encode_batch<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        add_special: bool,
    ) -> Result<Vec<Encoding>> {
        let texts = texts.iter().map(AsRef::as_ref).collect::<Vec<&str>>();
        self.tokenizer.encode_batch(texts, add_special).map_err(encoding)
    }

    /// Ids to text.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.tokenizer.decode(ids, skip_special).map_err(encoding)
    }
}

/// A text file, if it is there.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", path)(error).into()),
    }
}
