//! Teacher models: a moving average for self-distillation, a reference model for DPO and GRPO.

use crate::{ema::Average, groups::Groups, named};
use burn::module::AutodiffModule;
use kiln_core::{AutodiffBackend, Teacher};

/// The teacher of a stage, frozen: a moving average or a reference model.
pub(crate) enum TeacherModel<B: AutodiffBackend, M> {
    /// The weights under training, averaged.
    Average(Average<B::InnerBackend>),
    /// The reference model: the weights as the stage began, frozen.
    Reference(M),
}

impl<B: AutodiffBackend, M: AutodiffModule<B>> TeacherModel<B, M> {
    /// A teacher that begins as `model`; `averaged` starts an average of its trained weights.
    pub fn new(
        teacher: Teacher,
        model: &M,
        averaged: impl FnOnce(f64) -> Average<B::InnerBackend>,
    ) -> Self {
        match teacher {
            Teacher::Average(decay) => Self::Average(averaged(decay)),
            // Through the inner model, for running statistics of its own: clones share them.
            Teacher::ReferenceModel => Self::Reference(frozen(M::from_inner(model.valid()))),
        }
    }

    /// The teacher as a model that gets no gradients; what is not averaged is as in `model`.
    pub fn model(&self, model: &M, groups: &Groups) -> M {
        match self {
            Self::Reference(start) => start.clone(),
            Self::Average(average) => {
                let shape = |name: &str| groups.get(name).map(|parameter| &parameter.shape[..]);
                frozen(named::put::<B, _>(model.clone(), average.weights().clone(), shape))
            }
        }
    }

    /// The average, where that is the teacher.
    pub fn average(&self) -> Option<&Average<B::InnerBackend>> {
        match self {
            Self::Average(average) => Some(average),
            Self::Reference(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn average_mut(&mut self) -> Option<&mut Average<B::InnerBackend>> {
        match self {
            Self::Average(average) => Some(average),
            Self::Reference(_) => None,
        }
    }
}

fn frozen<B: AutodiffBackend, M: AutodiffModule<B>>(model: M) -> M {
    named::freeze::<B, _>(model, |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        groups,
        testing::{Cpu, Net, values},
    };
    use burn::tensor::Tensor;

    #[test]
    fn where_a_stage_began_stays_where_it_was() {
        let _turn = crate::testing::alone();
        let device = Default::default();
        let model = Net::<Cpu>::new(&device);
        let groups = groups::plan(&named::list(&model), &[], |_| false, None, |_| None).unwrap();
        let unused = |_| Average::new(0.5, Default::default());
        let teacher = TeacherModel::<Cpu, _>::new(Teacher::ReferenceModel, &model, unused);
        let running = |model: &Net<Cpu>| {
            let weights = named::weights(&model.valid());
            ["norm.running_mean", "head.weight"].map(|name| values(&weights[name]))
        };
        let began = running(&model);
        model.forward(Tensor::from_floats([[9.0, 9.0], [5.0, 1.0]], &device));
        assert_ne!(running(&model)[0], began[0]);
        assert_eq!(running(&teacher.model(&model, &groups)), began);
    }
}
