//! Model directories of sentence-transformers, <https://arxiv.org/abs/1908.10084>: a transformer,
//! and the modules that pool its tokens.
//!
//! `modules.json` lists modules and their folders: the transformer, in the directory itself or in
//! `0_Transformer`, a pooling, and any of dense layers, norms and a normalisation to length one.

use super::EmbedError;
use kiln_hub::{
    HubError,
    json_file::{CONFIG, read_json, write_json},
};
use kiln_lm::config::Pooling;
use kiln_nn::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

const MODULES: &str = "modules.json";
const SENTENCE: &str = "sentence_bert_config.json";
const PROMPTS: &str = "config_sentence_transformers.json";
const POOLING: &str = "1_Pooling";
const NORMALISE: &str = "2_Normalize";

/// How poolings are named in settings of today, and by the flags of older ones.
const POOLINGS: [(&str, &str, Pooling); 6] = [
    ("cls", "pooling_mode_cls_token", Pooling::First),
    ("max", "pooling_mode_max_tokens", Pooling::Max),
    ("mean", "pooling_mode_mean_tokens", Pooling::Mean),
    ("mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", Pooling::MeanRoot),
    ("weightedmean", "pooling_mode_weightedmean_tokens", Pooling::WeightedMean),
    ("lasttoken", "pooling_mode_lasttoken", Pooling::Last),
];

/// The sentence-transformers settings of a directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Directory {
    /// Where the transformer is.
    pub transformer: PathBuf,
    /// Poolings, concatenated where there are several; the model's own where empty.
    pub poolings: Vec<Pooling>,
    /// Whether the prompt's tokens are pooled, too.
    pub pools_prompt: bool,
    /// Layers after the pooling.
    pub after: Vec<Module>,
    /// Tokens of a text, at most.
    pub longest: Option<usize>,
    /// Whether texts are lower-cased first.
    pub lowercase: bool,
    /// Prompts by name.
    pub prompts: BTreeMap<String, String>,
    /// The name of the default prompt.
    pub default_prompt: Option<String>,
    /// Whether similarity is the dot product rather than the cosine.
    pub by_product: bool,
}

/// A layer after the pooling.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Module {
    /// A layer, whose weights are in a folder.
    Dense { dir: PathBuf, spec: DenseSpec },
    /// A norm, whose weights are in a folder.
    Norm { dir: PathBuf, width: usize },
    /// L2 normalisation.
    Normalise,
}

/// A dense layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DenseSpec {
    pub inputs: usize,
    pub outputs: usize,
    pub bias: bool,
    pub activation: Activation,
    /// Whether it is a residual layer.
    pub residual: bool,
}

/// An entry of `modules.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(default)]
    idx: usize,
    #[serde(default)]
    name: Value,
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sentence {
    max_seq_length: Option<usize>,
    do_lower_case: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Prompts {
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
    similarity_fn_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Dense {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    activation_function: Option<String>,
    #[serde(default)]
    use_residual: bool,
}

#[derive(Debug, Deserialize)]
struct Norm {
    dimension: usize,
}

fn yes() -> bool {
    true
}

impl Directory {
    /// Reads the settings of a directory; without `modules.json` it is the transformer's own.
    pub fn open(dir: &Path) -> Result<Self, EmbedError> {
        // The path is the transformer's own folder.
        let around = dir.parent().filter(|around| around.join(MODULES).exists());
        let root = if dir.join(MODULES).exists() { Some(dir) } else { around };
        let Some(root) = root else {
            return Ok(Self { transformer: dir.into(), pools_prompt: true, ..Self::default() });
        };
        let mut found = Self { pools_prompt: true, ..Self::default() };
        let entries: Vec<Entry> = read_json(&root.join(MODULES))?;
        for (place, entry) in entries.iter().enumerate() {
            let folder = inside(root, &entry.path)?;
            let kind = entry.kind.rsplit('.').next().unwrap_or_default();
            if (place == 0) != (kind == "Transformer") {
                return Err(unsupported(root, format!("`{kind}` in place {place}")));
            }
            match kind {
                "Transformer" => found.transformer = folder,
                "Pooling" => found.pooling(&folder)?,
                "Dense" => found.after.push(dense(folder)?),
                "LayerNorm" => {
                    let norm: Norm = read_json(&folder.join(CONFIG))?;
                    found.after.push(Module::Norm { dir: folder, width: norm.dimension });
                }
                "Normalize" => found.after.push(Module::Normalise),
                "Dropout" => {}
                other => return Err(unsupported(root, format!("modules of the kind `{other}`"))),
            }
        }
        if found.poolings.is_empty() {
            return Err(unsupported(root, "no pooling".into()));
        }
        if let Some(sentence) = optional::<Sentence>(&found.transformer.join(SENTENCE))? {
            found.longest = sentence.max_seq_length;
            found.lowercase = sentence.do_lower_case;
        }
        if let Some(prompts) = optional::<Prompts>(&root.join(PROMPTS))? {
            found.prompts = prompts.prompts;
            found.default_prompt = prompts.default_prompt_name;
            found.by_product = prompts.similarity_fn_name.as_deref() == Some("dot");
        }
        Ok(found)
    }

    fn pooling(&mut self, folder: &Path) -> Result<(), EmbedError> {
        let path = folder.join(CONFIG);
        let json: Map<String, Value> = read_json(&path)?;
        let named = match json.get("pooling_mode") {
            Some(Value::String(name)) => vec![name.clone()],
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => {
                let is_set = |flag: &str| json.get(flag).and_then(Value::as_bool) == Some(true);
                let set = POOLINGS.iter().filter(|(_, flag, _)| is_set(flag));
                set.map(|(name, ..)| (*name).to_owned()).collect()
            }
        };
        for name in named {
            let known = POOLINGS.iter().find(|(known, ..)| *known == name);
            let Some((.., pooling)) = known else {
                return Err(unsupported(&path, format!("the pooling `{name}`")));
            };
            self.poolings.push(*pooling);
        }
        if self.poolings.is_empty() {
            self.poolings.push(Pooling::Mean);
        }
        self.pools_prompt = json.get("include_prompt").and_then(Value::as_bool).unwrap_or(true);
        Ok(())
    }
}

fn dense(dir: PathBuf) -> Result<Module, EmbedError> {
    let path = dir.join(CONFIG);
    let theirs: Dense = read_json(&path)?;
    let class = theirs.activation_function.as_deref().and_then(|class| class.rsplit('.').next());
    let activation = match class {
        None | Some("Tanh") => Activation::Tanh,
        Some("Identity") => Activation::Identity,
        Some("ReLU") => Activation::Relu,
        Some("GELU") => Activation::Gelu,
        Some("SiLU") => Activation::Silu,
        Some("Sigmoid") => Activation::Sigmoid,
        Some(other) => return Err(unsupported(&path, format!("the activation `{other}`"))),
    };
    let (inputs, outputs) = (theirs.in_features, theirs.out_features);
    let residual = theirs.use_residual;
    let spec = DenseSpec { inputs, outputs, bias: theirs.bias, activation, residual };
    Ok(Module::Dense { dir, spec })
}

fn optional<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, EmbedError> {
    if path.exists() { Ok(Some(read_json(path)?)) } else { Ok(None) }
}

/// A folder of the directory, whoever wrote its name.
fn inside(root: &Path, folder: &str) -> Result<PathBuf, EmbedError> {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(folder).components().all(plain) {
        return Ok(if folder.is_empty() { root.into() } else { root.join(folder) });
    }
    Err(unsupported(&root.join(MODULES), format!("the folder `{folder}` outside of it")))
}

fn unsupported(path: &Path, what: String) -> EmbedError {
    EmbedError::Unsupported { path: path.into(), what }
}

/// Makes a directory of sentence-transformers of a model directory: writes beside the model how its
/// tokens become a vector, so that other tools embed as it was trained to.
///
/// # Errors
/// When a file cannot be written.
pub fn write_sentence_files(
    dir: &Path,
    width: usize,
    pooling: Pooling,
    longest: Option<usize>,
    normalise: bool,
) -> Result<(), EmbedError> {
    let module = |idx: usize, path: &str, kind: &str| Entry {
        idx,
        name: idx.to_string().into(),
        path: path.into(),
        kind: format!("sentence_transformers.models.{kind}"),
    };
    let mut modules = vec![module(0, "", "Transformer"), module(1, POOLING, "Pooling")];
    let mut folders = vec![POOLING];
    if normalise {
        modules.push(module(2, NORMALISE, "Normalize"));
        folders.push(NORMALISE);
    }
    for folder in folders {
        let path = dir.join(folder);
        std::fs::create_dir_all(&path).map_err(|source| HubError::Io {
            action: "create",
            path,
            source,
        })?;
    }
    let mut json = Map::new();
    json.insert("word_embedding_dimension".into(), width.into());
    for (_, flag, known) in POOLINGS {
        json.insert(flag.into(), (known == pooling).into());
    }
    write_json(&dir.join(POOLING).join(CONFIG), &json)?;
    let sentence = json!({ "max_seq_length": longest, "do_lower_case": false });
    write_json(&dir.join(SENTENCE), &sentence)?;
    write_json(&dir.join(MODULES), &modules)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let plain = Directory::open(dir.path()).unwrap();
        assert_eq!((plain.poolings.len(), plain.transformer.as_path()), (0, dir.path()));
        for (_, _, pooling) in POOLINGS {
            write_sentence_files(dir.path(), 8, pooling, Some(32), true).unwrap();
            let read = Directory::open(dir.path()).unwrap();
            assert_eq!((read.poolings, read.longest), (vec![pooling], Some(32)));
            assert_eq!(read.after, [Module::Normalise]);
        }
    }

    /// What is read of these modules, or the message.
    fn read(modules: &str, files: &[(&str, &str)]) -> Result<Directory, String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MODULES), modules).unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Directory::open(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn modules_of_today_and_of_before() {
        let modules = r#"[{"path": "0_Transformer", "type": "a.Transformer"},
            {"path": "1_Pooling", "type": "b.Pooling"}, {"path": "2_Dense", "type": "c.Dense"}]"#;
        let dense = r#"{"in_features": 16, "out_features": 4,
            "activation_function": "torch.nn.modules.linear.Identity"}"#;
        let prompts = r#"{"prompts": {"query": "q: "}, "default_prompt_name": "query",
            "similarity_fn_name": "dot"}"#;
        let pooling = r#"{"pooling_mode": ["cls", "max"], "include_prompt": false}"#;
        let files = [
            ("1_Pooling/config.json", pooling),
            ("2_Dense/config.json", dense),
            (PROMPTS, prompts),
            ("0_Transformer/sentence_bert_config.json", r#"{"do_lower_case": true}"#),
        ];
        let found = read(modules, &files).unwrap();
        assert_eq!(found.poolings, [Pooling::First, Pooling::Max]);
        assert!(found.transformer.ends_with("0_Transformer"));
        assert!(found.lowercase && !found.pools_prompt && found.by_product);
        assert_eq!(
            (found.prompts["query"].as_str(), found.default_prompt.is_some()),
            ("q: ", true)
        );
        let Module::Dense { spec, .. } = &found.after[0] else { panic!() };
        assert_eq!((spec.outputs, spec.activation, spec.bias), (4, Activation::Identity, true));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let first = r#"{"path": "", "type": "a.Transformer"}"#;
        let with = |second: &str| format!("[{first}, {second}]");
        for (modules, expected) in [
            (with(r#"{"path": "1", "type": "a.LSTM"}"#), "`LSTM`"),
            (with(r#"{"path": "../1", "type": "a.Dense"}"#), "outside"),
            (format!("[{first}]"), "no pooling"),
            (r#"[{"path": "", "type": "a.StaticEmbedding"}]"#.into(), "`StaticEmbedding`"),
            (with(r#"{"path": "1_Pooling", "type": "a.Pooling"}"#), "the pooling `best`"),
        ] {
            let files = [("1_Pooling/config.json", r#"{"pooling_mode": "best"}"#)];
            let message = read(&modules, &files).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
