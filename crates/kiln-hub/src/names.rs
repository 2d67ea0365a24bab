//! Rules that translate parameter names between a checkpoint family's spelling and ours.
//!
//! A family states its rules once, as a table; loading walks it forwards, saving backwards:
//!
//! ```
//! use kiln_hub::{NameMap, Rule};
//!
//! const RULES: &[Rule] = &[
//!     Rule::OldNames,
//!     Rule::Segments { theirs: "self_attn", ours: "attention" },
//!     Rule::Regex {
//!         load: Some((r"\.ff\.0\.", ".up.")),
//!         save: Some((r"\.up\.", ".ff.0.")),
//!     },
//! ];
//! # fn main() -> Result<(), kiln_hub::HubError> {
//! let names = NameMap::new(RULES)?;
//! assert_eq!(names.load("layers.0.self_attn.ff.0.weight"), "layers.0.attention.up.weight");
//! assert_eq!(names.save("layers.0.attention.up.weight"), "layers.0.self_attn.ff.0.weight");
//! # Ok(())
//! # }
//! ```

use crate::{
    HubError, Result, Weights,
    layout::{Layout, Place, RowBlocks, compile},
};
use regex::Regex;
use std::{borrow::Cow, collections::BTreeMap};

/// One rule of a [`NameMap`]. Names are dotted paths in PyTorch's convention
/// (`layers.0.norm.weight`, linear weights `[out, in]`) on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Whole dotted segments, wherever they stand: `self_attn.q_proj` for `attention.query`.
    Segments {
        /// As in their file.
        theirs: &'static str,
        /// As in our module.
        ours: &'static str,
    },
    /// The beginning of a name, dot included; either side may be empty, which matches every name.
    Prefix {
        /// As in their file.
        theirs: &'static str,
        /// As in our module.
        ours: &'static str,
    },
    /// The path of a module from the beginning of a name; `*` stands for any one segment, as often
    /// on either side: `encoder.block.*.norm` for `encoder.layers.*.norm`.
    Path {
        /// As in their file.
        theirs: &'static str,
        /// As in our module.
        ours: &'static str,
    },
    /// The projections of attention, by whole dotted segments: `attention.query`,
    /// `attention.key`, `attention.value` and `attention.output` in our module.
    Attention {
        /// The segments before the four names, as in their file.
        theirs: &'static str,
        /// Query, key, value and output projection, as in their file.
        projections: [&'static str; 4],
    },
    /// The buffers of batch norm, `running_mean`, `running_var` and `num_batches_tracked` in
    /// PyTorch.
    BatchNormBuffers,
    /// A regular expression and what takes its place (`$1` for a group), for each direction.
    Regex {
        /// Theirs to ours.
        load: Option<(&'static str, &'static str)>,
        /// Ours to theirs.
        save: Option<(&'static str, &'static str)>,
    },
    /// Linear layers that their file holds as one, `[all outputs, inputs]`: by whole dotted
    /// segments. Parts are of equal size.
    Fused {
        /// As in their file.
        theirs: &'static str,
        /// As in our module, in the order of their rows.
        ours: &'static [&'static str],
    },
    /// The same in groups, each of equal blocks of rows: so many of the first layer, then one of
    /// each other. So lie heads of queries with the key and the value that they share.
    Grouped {
        /// As in their file.
        theirs: &'static str,
        /// As in our module, in the order of their blocks.
        ours: &'static [&'static str],
        /// Groups.
        groups: usize,
        /// Blocks of the first layer in each group.
        first: usize,
    },
    /// Linear layers that their file holds the other way round, `[in, out]`: by whole dotted
    /// segments of their names.
    Transposed {
        /// As in their file.
        theirs: &'static str,
    },
    /// A regular expression for tensors of theirs that we do not need: copies, counters.
    Ignored {
        /// As in their file.
        theirs: &'static str,
    },
    /// Old spellings that files on the hub still have, accepted on load and never written:
    /// `gamma` and `beta` of norms; both spellings of weight normalisation become
    /// `weight_g` and `weight_v`.
    OldNames,
}

/// Regular expressions and what takes their place.
type Patterns = Vec<(String, String)>;

impl Rule {
    /// Patterns for loading, then for saving.
    fn patterns(self) -> (Patterns, Patterns) {
        let whole = |from: &str, to: &str| {
            let pattern = format!(r"(^|\.){}(\.|$)", regex::escape(from));
            (pattern, format!("${{1}}{}${{2}}", to.replace('$', "$$")))
        };
        let segments = |pairs: &[(String, &str)]| {
            (
                pairs.iter().map(|(theirs, ours)| whole(theirs, ours)).collect(),
                pairs.iter().map(|(theirs, ours)| whole(ours, theirs)).collect(),
            )
        };
        let start =
            |from: &str, to: &str| (format!("^{}", regex::escape(from)), to.replace('$', "$$"));
        let given = |pair: Option<(&str, &str)>| {
            pair.map(|(from, to)| (from.to_owned(), to.to_owned())).into_iter().collect()
        };
        match self {
            Self::Segments { theirs, ours } => segments(&[(theirs.to_owned(), ours)]),
            Self::Attention { theirs, projections: [query, key, value, output] } => segments(&[
                (format!("{theirs}.{query}"), "attention.query"),
                (format!("{theirs}.{key}"), "attention.key"),
                (format!("{theirs}.{value}"), "attention.value"),
                (format!("{theirs}.{output}"), "attention.output"),
            ]),
            Self::BatchNormBuffers => segments(&[
                ("running_mean".to_owned(), "running.mean"),
                ("running_var".to_owned(), "running.variance"),
                ("num_batches_tracked".to_owned(), "running.batches"),
            ]),
            Self::Path { theirs, ours } => (vec![path(theirs, ours)], vec![path(ours, theirs)]),
            Self::Prefix { theirs, ours } => (vec![start(theirs, ours)], vec![start(ours, theirs)]),
            Self::Regex { load, save } => (given(load), given(save)),
            Self::Fused { .. }
            | Self::Grouped { .. }
            | Self::Transposed { .. }
            | Self::Ignored { .. } => (Vec::new(), Vec::new()),
            Self::OldNames => {
                let old = [
                    (r"\.gamma$", ".weight"),
                    (r"\.beta$", ".bias"),
                    (r"\.parametrizations\.weight\.original0$", ".weight_g"),
                    (r"\.parametrizations\.weight\.original1$", ".weight_v"),
                ];
                (old.map(|(from, to)| (from.to_owned(), to.to_owned())).to_vec(), Vec::new())
            }
        }
    }
}

/// The pattern of a [`Rule::Path`], and what takes its place.
fn path(from: &str, to: &str) -> (String, String) {
    let pattern = format!(r"^{}(\.|$)", regex::escape(from).replace(r"\*", r"([^.]+)"));
    let mut group = 0;
    let mut replacement = String::new();
    for part in to.replace('$', "$$").split('*') {
        group += 1;
        replacement += &format!("{part}${{{group}}}");
    }
    (pattern, replacement)
}

/// Rename rules in both directions.
#[derive(Clone, Debug, Default)]
pub struct NameMap {
    load: Vec<(Regex, String)>,
    save: Vec<(Regex, String)>,
    layouts: Vec<Layout>,
    ignored: Vec<Regex>,
}

impl NameMap {
    /// Compiles a table of rules. Each applies to what the one before left; saving runs them
    /// from the last to the first.
    ///
    /// # Errors
    /// When a rule is no regular expression.
    pub fn new(rules: &[Rule]) -> Result<Self> {
        let mut map = Self::default();
        for rule in rules {
            match *rule {
                Rule::Fused { theirs, ours } => {
                    map.layouts.push(Layout::fused(theirs, ours, 1, 1)?);
                }
                Rule::Grouped { theirs, ours, groups, first } => {
                    map.layouts.push(Layout::fused(theirs, ours, groups, first)?);
                }
                Rule::Transposed { theirs } => map.layouts.push(Layout::transposed(theirs)?),
                Rule::Ignored { theirs } => map.ignored.push(compile(theirs)?),
                _ => {}
            }
            let (load, save) = rule.patterns();
            for (pattern, to) in load {
                map.load.push((compile(&pattern)?, to));
            }
            for (pattern, to) in save {
                map.save.insert(0, (compile(&pattern)?, to));
            }
        }
        Ok(map)
    }

    /// Their name in our spelling.
    pub fn load(&self, theirs: &str) -> String {
        rename(&self.load, theirs)
    }

    /// Our name in their spelling.
    pub fn save(&self, ours: &str) -> String {
        rename(&self.save, ours)
    }

    /// Where their file holds a parameter of ours.
    pub fn place(&self, ours: &str) -> Place {
        let mut place =
            Place { theirs: self.save(ours), part: RowBlocks::default(), transposed: false };
        for layout in self.layouts.iter().rev() {
            layout.place(&mut place);
        }
        place
    }

    /// Renames every tensor for loading into our module, and gives it our layout.
    ///
    /// # Errors
    /// When two of their names become one of ours, or a tensor has no such layout.
    pub fn to_ours(&self, mut weights: Weights) -> Result<Weights> {
        let needed = |name: &str| !self.ignored.iter().any(|pattern| pattern.is_match(name));
        weights.tensors.retain(|name, _| needed(name));
        weights.passthrough.retain(|name, _| needed(name));
        for layout in &self.layouts {
            layout.load(&mut weights)?;
        }
        rename_all(weights, |name| self.load(name))
    }

    /// Renames every tensor for a file of theirs, and gives it their layout.
    ///
    /// # Errors
    /// When two of our names become one of theirs, or a tensor has no such layout.
    pub fn to_theirs(&self, weights: Weights) -> Result<Weights> {
        let mut weights = rename_all(weights, |name| self.save(name))?;
        for layout in self.layouts.iter().rev() {
            layout.save(&mut weights)?;
        }
        Ok(weights)
    }
}

fn rename(rules: &[(Regex, String)], name: &str) -> String {
    let mut name = Cow::Borrowed(name);
    for (pattern, to) in rules {
        if let Cow::Owned(renamed) = pattern.replace_all(&name, to.as_str()) {
            name = Cow::Owned(renamed);
        }
    }
    name.into_owned()
}

fn rename_all(weights: Weights, rename: impl Fn(&str) -> String) -> Result<Weights> {
    fn all<T>(
        tensors: BTreeMap<String, T>,
        rename: impl Fn(&str) -> String,
    ) -> Result<BTreeMap<String, T>> {
        let mut renamed = BTreeMap::new();
        for (name, tensor) in tensors {
            let to = rename(&name);
            if renamed.insert(to.clone(), tensor).is_some() {
                let cause = format!("becomes `{to}`, and so does another");
                return Err(HubError::Tensor { tensor: name, cause });
            }
        }
        Ok(renamed)
    }
    Ok(Weights {
        tensors: all(weights.tensors, &rename)?,
        passthrough: all(weights.passthrough, &rename)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Weight;

    fn map(rules: &[Rule]) -> NameMap {
        NameMap::new(rules).unwrap()
    }

    #[test]
    fn segments_are_whole() {
        let names = map(&[Rule::Segments { theirs: "ff.0", ours: "up" }]);
        assert_eq!(names.load("layers.1.ff.0.bias"), "layers.1.up.bias");
        assert_eq!(names.load("ff.0"), "up");
        assert_eq!(names.load("buff.0.bias"), "buff.0.bias");
        assert_eq!(names.load("ff.01.bias"), "ff.01.bias");
        assert_eq!(names.save("layers.1.up.bias"), "layers.1.ff.0.bias");
    }

    #[test]
    fn saving_undoes_loading_in_reverse_order() {
        let names = map(&[
            Rule::Prefix { theirs: "model.encoder.", ours: "encoder." },
            Rule::Segments { theirs: "encoder.layers", ours: "encoder.blocks" },
            Rule::Regex {
                load: Some((r"norm(\d)\.batchnorm\.", "norm$1.")),
                save: Some((r"norm(\d)\.", "norm$1.batchnorm.")),
            },
        ]);
        let theirs = "model.encoder.layers.3.norm1.batchnorm.weight";
        assert_eq!(names.load(theirs), "encoder.blocks.3.norm1.weight");
        assert_eq!(names.save("encoder.blocks.3.norm1.weight"), theirs);
    }

    #[test]
    fn paths_keep_the_segments_of_their_stars() {
        let names = map(&[Rule::Path { theirs: "*.block.*.layer.0.norm", ours: "*.layers.*.ln" }]);
        assert_eq!(
            names.load("encoder.block.11.layer.0.norm.weight"),
            "encoder.layers.11.ln.weight"
        );
        assert_eq!(names.save("decoder.layers.3.ln"), "decoder.block.3.layer.0.norm");
        for other in ["encoder.block.1.layer.0.norms.bias", "t5.encoder.block.1.layer.0.norm.bias"]
        {
            assert_eq!(names.load(other), other);
        }
    }

    #[test]
    fn attention_and_batch_norm_have_their_names() {
        let projections = ["self.query", "self.key", "self.value", "output.dense"];
        let names = map(&[
            Rule::Segments { theirs: "attention.output.LayerNorm", ours: "attention_norm" },
            Rule::Attention { theirs: "attention", projections },
            Rule::BatchNormBuffers,
        ]);
        for (theirs, ours) in [
            ("layer.0.attention.self.query.weight", "layer.0.attention.query.weight"),
            ("layer.0.attention.output.dense.bias", "layer.0.attention.output.bias"),
            ("layer.0.attention.output.LayerNorm.bias", "layer.0.attention_norm.bias"),
            ("norm.running_var", "norm.running.variance"),
        ] {
            assert_eq!((names.load(theirs).as_str(), names.save(ours).as_str()), (ours, theirs));
        }
    }

    #[test]
    fn an_empty_prefix_adds_one() {
        let names = map(&[Rule::Prefix { theirs: "", ours: "model." }]);
        assert_eq!(names.load("head.bias"), "model.head.bias");
        assert_eq!(names.save("model.head.bias"), "head.bias");
    }

    #[test]
    fn old_names_are_read_and_never_written() {
        let names = map(&[Rule::OldNames]);
        assert_eq!(names.load("bert.LayerNorm.gamma"), "bert.LayerNorm.weight");
        assert_eq!(names.load("bert.LayerNorm.beta"), "bert.LayerNorm.bias");
        assert_eq!(names.load("conv.parametrizations.weight.original0"), "conv.weight_g");
        assert_eq!(names.load("conv.weight_v"), "conv.weight_v");
        assert_eq!(names.save("bert.LayerNorm.weight"), "bert.LayerNorm.weight");
    }

    #[test]
    fn names_that_collide_are_named() {
        let mut weights = Weights::default();
        for name in ["norm.gamma", "norm.weight"] {
            weights.tensors.insert(name.into(), Weight::zeros(&[1]));
        }
        let error = map(&[Rule::OldNames]).to_theirs(weights.clone());
        assert!(error.is_ok(), "nothing is renamed on save");
        let error = map(&[Rule::OldNames]).to_ours(weights).unwrap_err().to_string();
        assert!(error.contains("`norm.weight`"), "{error}");
    }

    #[test]
    fn a_bad_pattern_is_an_error() {
        let error = NameMap::new(&[Rule::Regex { load: Some(("(", "")), save: None }]).unwrap_err();
        assert!(error.to_string().contains("`(`"), "{error}");
    }
}
