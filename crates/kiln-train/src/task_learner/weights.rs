//! What each micro-batch of a step has in its gradient.

use std::collections::BTreeMap;

/// What the micro-batches of a step weigh in the mean over all that they count.
///
/// The first of a kind that counts something weighs one, so that batches which count alike are
/// averaged as they are, those that count different things are too, and numbers stay in the range of
/// a single batch whatever their precision.
#[derive(Clone, Default)]
pub(super) struct Weights {
    /// What the first of each kind counted.
    first: BTreeMap<Option<String>, usize>,
    total: f64,
}

impl Weights {
    /// The weight of the next batch, which is of a kind; `None` where it counts nothing.
    pub(super) fn next(&mut self, kind: Option<String>, count: usize) -> Option<f64> {
        let count = (count > 0).then_some(count)?;
        let first = self.first.entry(kind).or_insert(count);
        let weight = count as f64 / *first as f64;
        self.total += weight;
        Some(weight)
    }

    /// The sum of all; one where there are none.
    pub(super) fn sum(self) -> f64 {
        if self.first.is_empty() { 1.0 } else { self.total }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        learner::Learner,
        logs::Progress,
        task::{Task, TaskError, TaskSource, TaskSourceError},
        task_learner::TaskLearner,
        testing::{Cpu, alone, assert_close, stage},
        trainer::train,
    };
    use burn::{
        nn::{Linear, LinearConfig},
        tensor::{Tensor, TensorData, backend::BackendTypes},
    };
    use burn_flex::Flex;
    use kiln_core::{Loss, Seed, Size, Source, StepContext};
    use std::{path::Path, sync::Arc};

    type Device = <Cpu as BackendTypes>::Device;

    /// Numbers of which each is its own target, but for some that have none.
    struct Partly;

    impl Source for Partly {
        type Example = (f32, bool);
        type Error = TaskSourceError;

        fn size(&self) -> Size {
            Size::Known(6)
        }

        fn example(&self, index: u64) -> Result<Self::Example, TaskSourceError> {
            // Pairs count two, none, and one.
            Ok((index as f32 + 1.0, [true, true, false, false, false, true][index as usize]))
        }
    }

    impl Task<Cpu> for Partly {
        type Model = Linear<Cpu>;
        type Example = (f32, bool);
        type HostBatch = Vec<(f32, bool)>;

        fn source(&self) -> TaskSource<Self::Example> {
            Arc::new(Self)
        }

        fn shuffle(&self) -> bool {
            false
        }

        fn collate(
            &self,
            examples: Vec<Self::Example>,
            _: &mut StepContext<'_>,
        ) -> Result<Self::HostBatch, TaskError> {
            Ok(examples)
        }

        fn tokens(&self, batch: &Self::HostBatch) -> usize {
            batch.len()
        }

        fn loss(
            &self,
            model: &Linear<Cpu>,
            _: Option<&Linear<Cpu>>,
            batch: Self::HostBatch,
            _: &mut StepContext<'_>,
            device: &Device,
        ) -> Result<Loss<Cpu>, TaskError> {
            let counted: Vec<f32> =
                batch.into_iter().filter(|one| one.1).map(|one| one.0).collect();
            let count = counted.len();
            if count == 0 {
                return Ok(Loss::empty(device));
            }
            let x = Tensor::<Cpu, 2>::from_data(TensorData::new(counted, [count, 1]), device);
            Ok(Loss::new((model.forward(x.clone()) - x).square().mean(), count))
        }

        fn write_model(&self, _: &Linear<Flex>, _: &Path) -> Result<(), TaskError> {
            Ok(())
        }
    }

    /// The weights after a step, its gradient's norm and its loss as it is logged.
    fn after(batch: usize) -> [f32; 4] {
        let dir = tempfile::tempdir().unwrap();
        let accumulate = 6 / batch;
        let stage = stage(&format!(
            "steps = 1\nbatch = {batch}\naccumulate = {accumulate}\nschedule.constant = {{}}\n\
             optimizer.sgd = {{ momentum = 0.0, learning_rate = 0.01 }}"
        ));
        let build = |device: &Device| Ok(LinearConfig::new(1, 1).init::<Cpu>(device));
        let mut learner =
            TaskLearner::new(Partly, build, &stage, Seed::new(1), Default::default()).unwrap();
        train(&stage, &mut learner, dir.path(), &Default::default(), Progress::silent()).unwrap();
        let lines = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
        let line: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        let state = learner.state().unwrap();
        let weight = |name: &str| state[name].values[0];
        let logged = |key: &str| line[key].as_f64().unwrap() as f32;
        let weights = [weight("model.weight"), weight("model.bias")];
        [weights[0], weights[1], logged("gradient_norm"), logged("loss")]
    }

    #[test]
    fn kinds_are_not_weighed_against_each_other() {
        let mut weights = super::Weights::default();
        let mut next = |kind: Option<&str>, count| weights.next(kind.map(str::to_owned), count);
        // Tokens of documents, and texts of a task.
        let found =
            [next(None, 400), next(Some("mood"), 8), next(None, 100), next(Some("mood"), 0)];
        assert_eq!(found, [Some(1.0), Some(1.0), Some(0.25), None]);
        assert_eq!(weights.sum(), 2.25);
    }

    #[test]
    fn small_batches_that_count_differently_are_one_large_batch() {
        let _turn = alone();
        let whole = after(6);
        assert!(whole[3] > 0.0);
        for batch in [1, 2, 3] {
            assert_close(&after(batch), &whole, 1e-5);
        }
    }
}
