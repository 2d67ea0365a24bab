//! FLOP and memory estimates of training, from configurations alone.

use crate::{
    groups::{self, Groups, Role},
    recipe::{ModalitySpec, Optimizer, Stage},
};

/// Values that a block keeps of each feature of a token for its backward step: inputs of norms,
/// products, activations and dropouts.
pub const KEPT_A_FEATURE: f64 = 16.0;

/// Bytes of weights, gradients, optimizer state and `kept` values of activations, an estimate.
pub fn step_memory<P: ModalitySpec>(
    stage: &Stage<P>,
    parameters: usize,
    trainable: usize,
    kept: f64,
) -> f64 {
    let states = match &stage.optimizer {
        Optimizer::Adamw(_) => 2.0,
        Optimizer::Lion(_) | Optimizer::Muon(_) | Optimizer::Sgd(_) => 1.0,
        // A number a row and a column is next to nothing.
        Optimizer::Adafactor(adafactor) => f64::from(u8::from(adafactor.momentum > 0.0)),
    };
    let averages = if stage.ema.is_some() { 1.0 } else { 0.0 };
    4.0 * (parameters as f64 + trainable as f64 * (1.0 + states + averages) + kept)
}

/// What the backward pass of a step costs, in forward passes: 2 where all is trained.
///
/// Gradients pass back through the blocks as far down as something is trained, which costs what the
/// way up through these does, and each matrix that is trained costs its share of a forward pass
/// again, as in <https://arxiv.org/abs/2406.04165>. `layer_index` gives a parameter's block, counted from
/// the input, and the number of blocks.
pub fn backward(groups: &Groups, layer_index: impl Fn(&str) -> Option<(usize, usize)>) -> f64 {
    let (mut reach, mut matrices, mut trained) = (0.0_f64, 0.0, 0.0);
    for (name, parameter) in groups {
        let trains = parameter.role == Role::Trained;
        match layer_index(name) {
            Some((block, blocks)) => {
                let size = parameter.shape.iter().product::<usize>() as f64;
                let size = if parameter.shape.len() > 1 { size } else { 0.0 };
                matrices += size;
                if trains {
                    trained += size;
                    reach = reach.max(1.0 - block as f64 / blocks.max(1) as f64);
                }
            }
            None if trains && groups::is_before_blocks(name) => reach = 1.0,
            None => {}
        }
    }
    // Without blocks that can be told apart: as if all of them were trained.
    if matrices > 0.0 { reach + trained / matrices } else { 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named::NamedShape;

    /// Four blocks of one matrix of 4 × 4 and a bias between an embedding and a head.
    fn cost(freeze: &[&str]) -> f64 {
        let mut listed = vec![("embedding.tokens.weight".to_owned(), vec![8, 4])];
        for block in 0..4 {
            listed.push((format!("blocks.{block}.weight"), vec![4, 4]));
            listed.push((format!("blocks.{block}.bias"), vec![4]));
        }
        listed.push(("head.weight".to_owned(), vec![4, 8]));
        let named = |(path, shape)| NamedShape { path, shape, trainable: true };
        let listed: Vec<_> = listed.into_iter().map(named).collect();
        let freeze: Vec<_> = freeze.iter().map(ToString::to_string).collect();
        let layer_index =
            |name: &str| Some((name.strip_prefix("blocks.")?.split('.').next()?.parse().ok()?, 4));
        backward(&groups::plan(&listed, &freeze, |_| false, None, |_| None).unwrap(), layer_index)
    }

    #[test]
    fn what_is_frozen_costs_less() {
        assert_eq!(cost(&[]), 2.0);
        assert_eq!(cost(&["embedding.*", "blocks.0.*", "blocks.1.*"]), 1.0);
        assert_eq!(cost(&["embedding.*", "*.weight"]), 1.0, "biases of all blocks");
        assert_eq!(cost(&["embedding.*", "blocks.*"]), 0.0, "a head alone");
        assert_eq!(cost(&["blocks.*"]), 1.0, "embeddings below all");
    }
}
