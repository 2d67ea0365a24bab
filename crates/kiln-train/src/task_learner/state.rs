//! All that changes while a stage trains, as it is saved.

use super::{TaskLearner, Weights, read};
use crate::{
    Error, Result,
    ema::Average,
    groups::Role,
    learner::{HostTensor, LearnerState},
    named::{self, Flat},
    task::Task,
    teacher::TeacherModel,
};
use burn::{
    module::AutodiffModule as _,
    tensor::{Tensor, TensorData},
};
use kiln_core::AutodiffBackend;
use std::collections::BTreeMap;

/// Counts up to 2⁴⁰ are saved as two numbers below this, which f32 holds exactly.
const HALF: u64 = 1 << 20;

impl<B: AutodiffBackend, T: Task<B>> TaskLearner<B, T> {
    /// A copy of all that changes, as [`Learner::state`](crate::learner::Learner::state).
    pub(super) fn save(&self) -> Result<LearnerState> {
        let mut state = LearnerState::new();
        let mut put = |key: String, name: &str, tensor: &Tensor<B::InnerBackend, 1>| {
            let shape = self.groups.get(name).map(|p| p.shape.clone()).unwrap_or_default();
            let values = read(tensor.clone())?;
            state.insert(key, HostTensor { shape, values });
            Ok::<_, Error>(())
        };
        for (name, tensor) in &named::weights(&self.model.valid()) {
            put(format!("model.{name}"), name, tensor)?;
        }
        for (prefix, average) in self.averages() {
            for (name, tensor) in average.weights() {
                put(format!("{prefix}.{name}"), name, tensor)?;
            }
        }
        for (key, shape, tensor) in self.optimizer.states(&self.groups) {
            let values = read(tensor.clone())?;
            state.insert(format!("optimizer.{key}"), HostTensor { shape, values });
        }
        let updates = self.optimizer.updates();
        let values = vec![(updates / HALF) as f32, (updates % HALF) as f32];
        state.insert("optimizer.updates".into(), HostTensor { shape: vec![2], values });
        Ok(state)
    }

    /// Goes back to a saved state; one that does not fit changes nothing.
    pub(super) fn load(&mut self, state: &LearnerState) -> Result<()> {
        let model = self.upload(state, "model", Role::Buffer)?;
        let kept: Vec<&str> = self.averages().map(|(prefix, _)| prefix).collect();
        let averages = kept
            .iter()
            .map(|prefix| self.upload(state, prefix, Role::Trained))
            .collect::<Result<Vec<_>>>()?;
        let mut moments = BTreeMap::new();
        for (name, parameter) in &self.groups {
            for (key, shape) in self.optimizer.state_shapes(name, parameter) {
                let full = format!("optimizer.{key}");
                if state.contains_key(&full) {
                    moments.insert(key, self.tensor(find(state, &full, &shape)?));
                }
            }
        }
        let averaged = averages.iter().map(BTreeMap::len).sum::<usize>();
        let known = model.len() + averaged + moments.len() + 1;
        let updates = match find(state, "optimizer.updates", &[2])?.values[..] {
            [high, low] => high as u64 * HALF + low as u64,
            _ => 0,
        };
        if known != state.len() {
            let problem = format!("it holds {} tensors, expected {known}", state.len());
            return Err(Error::State { problem });
        }
        self.optimizer.restore(updates, moments, &self.groups)?;
        for (ours, saved) in self.averages_mut().zip(averages) {
            ours.restore(saved);
        }
        self.accumulated_gradients.clear();
        self.weights = Weights::default();
        self.put(&model);
        Ok(())
    }

    /// The averages that are kept, by the names under which they are saved.
    fn averages(&self) -> impl Iterator<Item = (&'static str, &Average<B::InnerBackend>)> {
        let teacher = self.teacher.as_ref().and_then(TeacherModel::average);
        let kept = [("ema", self.average.as_ref()), ("teacher", teacher)];
        kept.into_iter().filter_map(|(name, average)| Some((name, average?)))
    }

    /// The same in the same order, to be changed.
    pub(super) fn averages_mut(&mut self) -> impl Iterator<Item = &mut Average<B::InnerBackend>> {
        let teacher = self.teacher.as_mut().and_then(TeacherModel::average_mut);
        self.average.iter_mut().chain(teacher)
    }

    /// Checks a group of saved tensors against the parameters and uploads it.
    fn upload(
        &self,
        saved: &LearnerState,
        prefix: &str,
        role: Role,
    ) -> Result<Flat<B::InnerBackend>> {
        let mut flat = BTreeMap::new();
        for (name, parameter) in &self.groups {
            // The model group holds all; the moving average only what is trained.
            if role == Role::Trained && parameter.role != Role::Trained {
                continue;
            }
            let key = format!("{prefix}.{name}");
            let tensor = find(saved, &key, &parameter.shape)?;
            flat.insert(name.clone(), self.tensor(tensor));
        }
        Ok(flat)
    }

    fn tensor(&self, host: &HostTensor) -> Tensor<B::InnerBackend, 1> {
        let data = TensorData::new(host.values.clone(), [host.values.len()]);
        Tensor::from_data(data, &self.device)
    }
}

/// A saved tensor of the shape that the stage wants.
fn find<'a>(state: &'a LearnerState, key: &str, shape: &[usize]) -> Result<&'a HostTensor> {
    let problem = match state.get(key) {
        None => format!("`{key}` is missing"),
        Some(tensor) if tensor.shape != shape => {
            format!("`{key}` has shape {:?}, expected {shape:?}", tensor.shape)
        }
        Some(tensor) if tensor.values.len() != shape.iter().product::<usize>() => {
            format!("`{key}` holds {} values for shape {shape:?}", tensor.values.len())
        }
        Some(tensor) => return Ok(tensor),
    };
    Err(Error::State { problem })
}
