//! The model that an objective learns from beside the batch.

use crate::{ema::Average, groups::Groups, named};
use burn::module::AutodiffModule;
use kiln_core::{AutodiffBackend, Teacher};

/// The teacher of a stage.
pub(crate) enum Taught<B: AutodiffBackend, M> {
    /// The weights under training, averaged.
    Average(Average<B::InnerBackend>),
    /// The model as the stage began, frozen.
    Start(M),
}

impl<B: AutodiffBackend, M: AutodiffModule<B>> Taught<B, M> {
    /// A teacher that begins as `model`; `averaged` starts an average of its trained weights.
    pub fn new(
        teacher: Teacher,
        model: &M,
        averaged: impl FnOnce(f64) -> Average<B::InnerBackend>,
    ) -> Self {
        match teacher {
            Teacher::Average(decay) => Self::Average(averaged(decay)),
            Teacher::Start => Self::Start(frozen(model.clone())),
        }
    }

    /// The teacher as a model that gets no gradients; what is not averaged is as in `model`.
    pub fn model(&self, model: &M, groups: &Groups) -> M {
        match self {
            Self::Start(start) => start.clone(),
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
            Self::Start(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn average_mut(&mut self) -> Option<&mut Average<B::InnerBackend>> {
        match self {
            Self::Average(average) => Some(average),
            Self::Start(_) => None,
        }
    }
}

fn frozen<B: AutodiffBackend, M: AutodiffModule<B>>(model: M) -> M {
    named::freeze::<B, _>(model, |_| true)
}
