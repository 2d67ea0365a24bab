//! Parameter groups: trained or frozen, with or without weight decay, at which share of the learning
//! rate.
//!
//! Weight decay is for matrices. Vectors (norms, biases, single tokens) and position tables are
//! left alone, as in nanoGPT and timm.

use crate::{Error, Result, named::NamedShape};
use kiln_core::pattern::{matches, nearest};
use std::collections::BTreeMap;

/// One parameter of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// What training does with it.
    pub role: Role,
    /// Whether weight decay applies.
    pub decayed: bool,
    /// Whether it is a matrix between hidden layers, which Muon orthogonalises: rank 2, and in no
    /// embedding, position table or head.
    pub hidden_matrix: bool,
    /// Its learning rate as a share of the stage's.
    pub share: f64,
}

/// What training does with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The optimizer changes it.
    Trained,
    /// Frozen: no gradients, no updates.
    Frozen,
    /// No gradient reaches it: running statistics, which the forward pass changes.
    Buffer,
}

/// Parameters by name.
pub type Groups = BTreeMap<String, Parameter>;

/// Sorts the parameters of a module into groups.
///
/// `layer_decay` multiplies the rate once for each block between a parameter's block and the last;
/// `layer_index` gives the block's index and the number of blocks.
///
/// What `held` says is held fixed, too.
///
/// # Errors
/// When a freeze pattern matches nothing, or nothing is left to train.
pub fn plan(
    parameters: &[NamedShape],
    freeze: &[String],
    held: impl Fn(&str) -> bool,
    layer_decay: Option<f64>,
    layer_index: impl Fn(&str) -> Option<(usize, usize)>,
) -> Result<Groups> {
    for pattern in freeze {
        if !parameters.iter().any(|parameter| matches(pattern, &parameter.path)) {
            return Err(Error::NoSuchParameter {
                key: "freeze",
                pattern: pattern.clone(),
                near: nearest(pattern, parameters.iter().map(|one| one.path.as_str())),
            });
        }
    }
    let groups: Groups = parameters
        .iter()
        .map(|NamedShape { path, shape, trainable }| {
            let role = if !trainable {
                Role::Buffer
            } else if held(path) || freeze.iter().any(|pattern| matches(pattern, path)) {
                Role::Frozen
            } else {
                Role::Trained
            };
            let share = match (layer_decay, layer_index(path)) {
                (Some(decay), Some((block, blocks))) => {
                    let after = blocks.saturating_sub(1).saturating_sub(block);
                    decay.powi(i32::try_from(after).unwrap_or(i32::MAX))
                }
                _ => 1.0,
            };
            let parameter = Parameter {
                decayed: shape.len() > 1 && !names(path, &["norm", "position", "bias"]),
                hidden_matrix: shape.len() == 2
                    && shape.iter().all(|size| *size > 1)
                    && !names(path, &["embed", "position"])
                    && !path.split('.').any(|part| part == "head" || part.ends_with("_head")),
                shape: shape.clone(),
                role,
                share,
            };
            (path.clone(), parameter)
        })
        .collect();
    if groups.values().all(|parameter| parameter.role != Role::Trained) {
        return Err(Error::NothingToTrain);
    }
    Ok(groups)
}

/// Whether a parameter that is in no block stands before them all.
pub(crate) fn is_before_blocks(path: &str) -> bool {
    names(path, &["decomposition", "embed", "frontend", "position", "prompt"])
}

/// Whether a word of the path begins with one of these, as `embedder` does with `embed`; norms also
/// end so, as in `layernorm`.
fn names(path: &str, words: &[&str]) -> bool {
    let path = path.to_ascii_lowercase();
    path.split(['.', '_']).any(|part| {
        words
            .iter()
            .any(|word| part.starts_with(word) || (*word == "norm" && part.ends_with("norm")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str, shape: &[usize]) -> NamedShape {
        NamedShape {
            path: path.into(),
            shape: shape.to_vec(),
            trainable: !path.contains("running"),
        }
    }

    fn sample() -> Vec<NamedShape> {
        vec![
            named("embedder.weight", &[8, 4]),
            named("position.table", &[16, 4]),
            named("blocks.0.decomposition.weight", &[4, 1]),
            named("blocks.0.mlp.weight", &[4, 4]),
            named("blocks.0.norm.gamma", &[4]),
            named("blocks.1.mlp.weight", &[4, 4]),
            named("blocks.1.norm.running_mean", &[4]),
            named("head.weight", &[4, 2]),
        ]
    }

    fn layer_index(path: &str) -> Option<(usize, usize)> {
        let block = path.strip_prefix("blocks.")?.split('.').next()?.parse().ok()?;
        Some((block, 2))
    }

    #[test]
    fn who_is_decayed_and_who_is_a_hidden_matrix() {
        let groups = plan(&sample(), &[], |_| false, Some(0.5), layer_index).unwrap();
        let decayed: Vec<_> = groups.iter().filter(|(_, p)| p.decayed).map(|(n, _)| n).collect();
        assert_eq!(
            decayed,
            [
                "blocks.0.decomposition.weight",
                "blocks.0.mlp.weight",
                "blocks.1.mlp.weight",
                "embedder.weight",
                "head.weight"
            ]
        );
        let matrices: Vec<_> =
            groups.iter().filter(|(_, p)| p.hidden_matrix).map(|(n, _)| n).collect();
        assert_eq!(matrices, ["blocks.0.mlp.weight", "blocks.1.mlp.weight"]);
        assert_eq!(groups["blocks.0.mlp.weight"].share, 0.5);
        assert_eq!(groups["blocks.1.mlp.weight"].share, 1.0);
        assert_eq!(groups["head.weight"].share, 1.0);
        assert_eq!(groups["blocks.1.norm.running_mean"].role, Role::Buffer);
    }

    #[test]
    fn freezing() {
        let groups = plan(&sample(), &["blocks.*".into()], |_| false, None, layer_index).unwrap();
        assert_eq!(groups["blocks.0.mlp.weight"].role, Role::Frozen);
        assert_eq!(groups["head.weight"].role, Role::Trained);
        let error =
            plan(&sample(), &["blokcs.0.*".into()], |_| false, None, layer_index).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("`blokcs.0.*`"), "{message}");
        assert!(message.contains("blocks.0."), "{message}");
        let error = plan(&sample(), &["*".into()], |_| false, None, layer_index).unwrap_err();
        assert!(matches!(error, Error::NothingToTrain));
    }
}
