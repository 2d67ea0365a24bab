//! Task-specific branches above shared blocks: one for understanding, with bidirectional attention,
//! and one for generation, with causal attention. ERNIE 3.0, <https://arxiv.org/abs/2107.02137>.

use crate::config::BranchesConfig;
use burn::module::Module;
use kiln_core::Backend;
use kiln_nn::{Transformer, TransformerConfig};

/// Task-specific transformer blocks above the backbone.
#[derive(Module, Debug)]
pub struct Branches<B: Backend> {
    /// With bidirectional attention.
    pub understanding: Transformer<B>,
    /// With causal attention.
    pub generation: Transformer<B>,
}

impl<B: Backend> Branches<B> {
    /// Of the backbone's kind.
    pub(crate) fn new(
        config: BranchesConfig,
        backbone: &TransformerConfig,
        width: usize,
        device: &B::Device,
    ) -> Self {
        let blocks = |layers| TransformerConfig { layers, ..backbone.clone() }.init(width, device);
        Self { understanding: blocks(config.understanding), generation: blocks(config.generation) }
    }

    /// The generation branch, or that for understanding.
    pub(crate) fn of(&self, generates: bool) -> &Transformer<B> {
        if generates { &self.generation } else { &self.understanding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        TextModel, TextModelConfig,
        capabilities::tests::{batch, encoder, text},
        generate::{Generation, Verdict},
    };
    use burn::tensor::Tensor;
    use burn_flex::Flex;
    use kiln_core::{AttentionVisibility, Corruption, Encode as _, HiddenStates as _, Seed};
    use kiln_objectives::{Autoregressive, Masked, Objective};

    fn branched() -> TextModelConfig {
        let branches = Some(BranchesConfig { understanding: 1, generation: 2 });
        TextModelConfig { branches, ..encoder() }
    }

    #[test]
    fn views_take_their_branch_and_share_what_is_below() {
        type A = burn::backend::Autodiff<Flex>;
        let (config, device) = (branched(), Default::default());
        let model = TextModel::<A>::new(config.clone(), &device).unwrap();
        let host = crate::examples::collate(&[text(&[1, 2, 3, 4])], &config.special);
        let batch = host.upload::<A>(&config.embedding, &device);
        let reached = |objective: Objective| {
            let mut rng = Seed::new(1).rng();
            let mut context = kiln_core::StepContext::new(&mut rng);
            let loss = objective.loss(&model, None, &batch, &mut context).unwrap();
            let gradients = loss.value.backward();
            let moved = |stack: &Transformer<A>| {
                let weight = stack.layers[0].feed_forward.hidden.weight.val();
                weight.grad(&gradients).is_some_and(|x| x.abs().sum().into_scalar() > 0.0)
            };
            let branches = model.branches.as_ref().unwrap();
            [&model.backbone, &branches.understanding, &branches.generation].map(moved)
        };
        let masked = Masked { ratio: 0.5, ..Masked::default() };
        assert_eq!(reached(Objective::Masked(masked)), [true, true, false]);
        let next = Autoregressive::default();
        assert_eq!(reached(Objective::Autoregressive(next)), [true, false, true]);
        let prefix = Autoregressive { prefix: Some([0.5, 0.5]), ..Autoregressive::default() };
        assert_eq!(reached(Objective::Autoregressive(prefix)), [true, false, true]);
    }

    #[test]
    fn only_the_written_branch_is_kept_from_what_comes_after() {
        let config = branched();
        let model = TextModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
        let first = |ids: &[u32], attention: Option<AttentionVisibility<Flex>>| -> Vec<f32> {
            let batch = batch(&config, &[text(ids)]);
            let tokens: Tensor<Flex, 3> =
                model.encode(&batch, &Corruption::none(), attention.as_ref()).values;
            tokens.narrow(1, 0, 1).into_data().to_vec().unwrap()
        };
        assert_eq!(
            first(&[1, 2], Some(AttentionVisibility::causal())),
            first(&[1, 3], Some(AttentionVisibility::causal()))
        );
        assert_ne!(first(&[1, 2], None), first(&[1, 3], None));
        assert_ne!(first(&[1, 2], None), first(&[1, 2], Some(AttentionVisibility::causal())));
        let each = model.hidden_states(&batch(&config, &[text(&[1, 2])]));
        assert_eq!(each.len(), config.backbone.layers + 1);
    }

    #[test]
    fn what_was_written_is_kept_for_both_stacks() {
        let (config, device) = (branched(), Default::default());
        let model = TextModel::<Flex>::new(config, &device).unwrap();
        let prompts = [vec![1, 2, 3], vec![4]];
        let write = |cache: bool| {
            let settings = Generation { max_new_tokens: 8, cache, ..Generation::default() };
            let go_on = |_, _| Verdict::GoOn;
            model.generate(&prompts, &settings, Seed::new(2), &device, go_on).unwrap()
        };
        assert_eq!(write(true), write(false));
        assert_eq!(write(true)[0].len(), 8);
    }

    #[test]
    fn a_directory_holds_the_branches() {
        let (config, device) = (branched(), Default::default());
        let model = TextModel::<Flex>::new(config.clone(), &device).unwrap();
        let dir = tempfile::tempdir().unwrap();
        model.save(dir.path()).unwrap();
        let read = TextModel::<Flex>::load(dir.path(), &device).unwrap();
        let values = |model: &TextModel<Flex>| -> Vec<f32> {
            let batch = batch(&config, &[text(&[1, 2, 3])]);
            model
                .encode(&batch, &Corruption::none(), Some(&AttentionVisibility::causal()))
                .values
                .into_data()
                .to_vec()
                .unwrap()
        };
        assert_eq!(values(&model), values(&read));
        let name = "branches.generation.layers.1.attention.query.weight";
        assert_eq!(config.layer_index(name), Some((5, 6)));
    }
}
