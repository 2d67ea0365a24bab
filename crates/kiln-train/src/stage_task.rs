//! Training task of a stage, for any [`Architecture`].

use crate::{
    architecture::{Architecture, OpenStage},
    task::{LOSS, Measure, Task, TaskError, TaskSource},
};
use burn::module::AutodiffModule;
use kiln_core::{AutodiffBackend, Backend, Loss, Model, Seed, StepContext, Teacher};
use kiln_hub::adapter::Published;
use kiln_objectives::{Drawn, Validation};
use std::{path::Path, sync::Arc};

/// The [`Task`] of a stage: batches of its architecture, the loss of its objective.
pub struct StageTask<A: Architecture>(Arc<OpenStage<A>>);

impl<A: Architecture> StageTask<A> {
    /// The task of a stage whose data is open.
    pub fn new(stage: Arc<OpenStage<A>>) -> Self {
        Self(stage)
    }

    /// The mean loss of each validation set, and of them all; empty where nothing counts.
    fn validation_losses<B: Backend>(
        &self,
        model: &A::Model<B>,
        teacher: Option<&A::Model<B>>,
        (seed, step): (Seed, u64),
        device: &B::Device,
    ) -> Result<Vec<Measure>, TaskError> {
        let mut each = Vec::with_capacity(self.0.validation.len());
        for set in &self.0.validation {
            let mut validation = Validation::new(&self.0.objective, seed, step);
            for examples in set.examples.chunks(self.0.validation_batch.max(1)) {
                let Some(host) = A::collate(&self.0, examples, &mut seed.rng())? else { continue };
                let teacher = teacher.map(|teacher| teacher as &dyn Model<B, Batch = _>);
                let drawn = validation.draw(&*A::host(&self.0, &host));
                validation.add(model, teacher, &A::upload::<B>(&self.0, host, device), drawn)?;
            }
            each.extend(Measure::of(&format!("{LOSS}-{}", set.name), validation.loss()));
        }
        if each.is_empty() {
            return Ok(each);
        }
        // Each set counts alike, whatever its losses are means over.
        let value = each.iter().map(|one| one.value).sum::<f64>() / each.len() as f64;
        let sets = each.into_iter().filter(|_| self.0.validation.len() > 1);
        Ok(std::iter::once(Measure { name: LOSS.into(), value }).chain(sets).collect())
    }
}

impl<A: Architecture, B: AutodiffBackend> Task<B> for StageTask<A> {
    type Model = A::Trained<B>;
    type Example = A::Example;
    type HostBatch = Option<(A::HostBatch, Drawn)>;

    fn source(&self) -> TaskSource<A::Example> {
        self.0.train.clone()
    }

    fn shuffle(&self) -> bool {
        self.0.shuffle
    }

    fn collate(
        &self,
        examples: Vec<A::Example>,
        context: &mut StepContext<'_>,
    ) -> Result<Self::HostBatch, TaskError> {
        let Some(batch) = A::collate(&self.0, &examples, context.rng)? else { return Ok(None) };
        let drawn = self.0.objective.draw(&*A::host(&self.0, &batch), context);
        Ok(Some((batch, drawn)))
    }

    fn tokens(&self, batch: &Self::HostBatch) -> usize {
        batch.as_ref().map_or(0, |(batch, _)| A::tokens(&self.0, batch))
    }

    fn kind<'a>(&self, batch: &'a Self::HostBatch) -> Option<&'a str> {
        batch.as_ref().and_then(|(batch, _)| A::kind(batch))
    }

    fn teacher(&self) -> Option<Teacher> {
        self.0.objective.teacher()
    }

    fn loss(
        &self,
        model: &A::Trained<B>,
        teacher: Option<&A::Trained<B>>,
        batch: Self::HostBatch,
        context: &mut StepContext<'_>,
        device: &B::Device,
    ) -> Result<Loss<B>, TaskError> {
        let Some((batch, drawn)) = batch else { return Ok(Loss::empty(device)) };
        let batch = A::upload::<B>(&self.0, batch, device);
        let teacher = teacher.map(|teacher| teacher as &dyn Model<B, Batch = _>);
        Ok(self.0.objective.loss_of_drawn(model, teacher, &batch, drawn, context)?)
    }

    fn validate(
        &self,
        model: &<A::Trained<B> as AutodiffModule<B>>::InnerModule,
        teacher: Option<&<A::Trained<B> as AutodiffModule<B>>::InnerModule>,
        seed: Seed,
        step: u64,
        device: &B::Device,
    ) -> Result<Vec<Measure>, TaskError> {
        let loss =
            self.validation_losses::<B::InnerBackend>(model, teacher, (seed, step), device)?;
        A::measures::<B::InnerBackend>(&self.0, model, loss, device)
    }

    fn write_model(
        &self,
        model: &<A::Trained<B> as AutodiffModule<B>>::InnerModule,
        dir: &Path,
    ) -> Result<(), TaskError> {
        A::write::<B::InnerBackend>(&self.0, model, dir)
    }

    fn published(&self) -> Result<Option<Published>, TaskError> {
        A::published(&self.0.config)
    }

    fn layer_index(&self, parameter: &str) -> Option<(usize, usize)> {
        A::layer_index(&self.0.config, parameter)
    }
}
