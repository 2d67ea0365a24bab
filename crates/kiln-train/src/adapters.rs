//! Parameter-efficient fine-tuning (LoRA, adapters): what stays frozen, and how the model is saved.

use crate::{
    Error, Result,
    groups::{Groups, Role},
    named::NamedShape,
    task::{Task, TaskError},
};
use burn::module::{AutodiffModule, Module};
use kiln_core::{
    AutodiffBackend, Backend,
    pattern::{matches, nearest},
};
use kiln_hub::{adapter, module::names};
use kiln_nn::adapt::{self, Adapt, AdaptConfig, BitFitConfig};
use std::{collections::BTreeSet, path::Path};

/// A model that is ready to train.
pub struct Built<M> {
    /// The model.
    pub model: M,
    /// The adapters in it.
    pub adapters: Option<Adapters<M>>,
}

impl<M> From<M> for Built<M> {
    fn from(model: M) -> Self {
        Self { model, adapters: None }
    }
}

/// Adapters of a model, and how to merge them or take them out.
pub struct Adapters<M> {
    /// In the order in which they were put in.
    configs: Vec<AdaptConfig>,
    /// Parameters of this stage's adapters.
    own: BTreeSet<String>,
    /// Base parameters, frozen by this stage for their sake.
    held: BTreeSet<String>,
    /// The model that is adapted, as the user named it.
    base: Option<String>,
    fold: fn(&mut M),
    strip: fn(&mut M),
}

/// The base model that adapters are added to.
pub struct BaseModel {
    /// The model that it starts from, as the user named it.
    pub base: Option<String>,
    /// Adapters that were in it.
    pub adapters: Vec<AdaptConfig>,
    /// Parameters missing in its weights.
    pub missing: Vec<String>,
}

impl<M> Adapters<M> {
    /// Puts a stage's adapters into a model.
    ///
    /// # Errors
    /// When a setting is out of range or a pattern fits nothing.
    pub fn put<B: Backend>(
        model: &mut M,
        adapt: Option<&AdaptConfig>,
        base_model: BaseModel,
        device: &B::Device,
    ) -> Result<Option<Self>>
    where
        M: Module<B> + Adapt<B>,
    {
        let BaseModel { base, adapters: mut configs, missing } = base_model;
        let (mut own, mut held) = (BTreeSet::new(), BTreeSet::new());
        if let Some(config) = adapt {
            let before = names(model);
            adapt::insert(model, config, device)
                .map_err(|error| Error::Adapt(error.within("adapt")))?;
            own = names(model).difference(&before).cloned().collect();
            let trained = trained(config, &before, &missing)?;
            unchanged(&own, &trained)?;
            held = before.difference(&trained).cloned().collect();
            configs.push(config.clone());
        }
        let adapters = Self { configs, own, held, base, fold: adapt::fold, strip: adapt::strip };
        Ok((!adapters.configs.is_empty()).then_some(adapters))
    }

    /// Whether a parameter is held fixed for the sake of adapters.
    pub fn holds(&self, parameter: &str) -> bool {
        self.held.contains(parameter)
    }

    /// Writes a model directory: a model with all that can be part of its weights, beside it the
    /// rest, and PEFT's layout where that can express the adapters.
    pub(crate) fn write<B: AutodiffBackend, T: Task<B, Model = M>>(
        &self,
        task: &T,
        model: &M,
        groups: &Groups,
        dir: &Path,
    ) -> Result<()>
    where
        M: AutodiffModule<B>,
    {
        let mut folded = model.clone();
        (self.fold)(&mut folded);
        let mut bare = folded.clone();
        (self.strip)(&mut bare);
        task.write_model(&bare.valid(), dir)?;
        let unfolded: Vec<_> = self.configs.iter().filter_map(AdaptConfig::unfolded).collect();
        if !unfolded.is_empty() {
            let bare = names(&bare);
            let rest = kiln_hub::collect_where(&folded, |name| !bare.contains(name))?;
            adapter::write(dir, unfolded, &rest)?;
        }
        let ([config], Some(published)) = (&self.configs[..], task.published()?) else {
            return Ok(());
        };
        let trained = |name: &str| groups.get(name).is_some_and(|one| one.role == Role::Trained);
        let others = groups.keys().filter(|name| trained(name) && !self.own.contains(*name));
        // PEFT keeps whole modules.
        let modules: BTreeSet<&str> = others.map(|name| module(name)).collect();
        let wanted = |name: &str| self.own.contains(name) || modules.contains(module(name));
        let weights = kiln_hub::collect_where(model, wanted)?;
        adapter::write_peft(dir, config, &weights, &published, self.base.as_deref())?;
        Ok(())
    }
}

fn module(parameter: &str) -> &str {
    parameter.rsplit_once('.').map_or(parameter, |(module, _)| module)
}

/// The parameters of the model itself that are trained beside its adapters.
fn trained(
    config: &AdaptConfig,
    parameters: &BTreeSet<String>,
    missing: &[String],
) -> Result<BTreeSet<String>> {
    let train = config.train.as_deref().unwrap_or(missing);
    let bitfit = config.bitfit.iter().flat_map(|BitFitConfig { parameters }| parameters);
    let patterns = train.iter().map(|one| ("adapt.train", one));
    let mut trained = BTreeSet::new();
    for (key, pattern) in patterns.chain(bitfit.map(|one| ("adapt.bitfit.parameters", one))) {
        let fitting = parameters.iter().filter(|name| matches(pattern, name)).cloned();
        let mut any = false;
        trained.extend(fitting.inspect(|_| any = true));
        if !any {
            let near = nearest(pattern, parameters.iter().map(String::as_str));
            return Err(Error::NoSuchParameter { key, pattern: pattern.clone(), near });
        }
    }
    Ok(trained)
}

/// Checks that no weight is trained that LoRA holds fixed.
fn unchanged(own: &BTreeSet<String>, trained: &BTreeSet<String>) -> Result<()> {
    let updated = own.iter().filter_map(|name| name.strip_suffix(".lora.down"));
    match updated.map(|module| format!("{module}.weight")).find(|name| trained.contains(name)) {
        None => Ok(()),
        Some(name) => Err(Error::Setting {
            key: "adapt.train",
            got: format!("a pattern of `{name}`"),
            expected: "none of a weight that LoRA updates",
        }),
    }
}

/// Refuses a stage that asks for adapters and has none.
pub(crate) fn check<M>(
    asked: Option<&AdaptConfig>,
    adapters: Option<&Adapters<M>>,
) -> std::result::Result<(), TaskError> {
    match (asked, adapters) {
        (Some(_), None) => Err("this model has no places for adapters; leave out `adapt`".into()),
        _ => Ok(()),
    }
}

/// How many numbers parameters hold: all, and those of a stage that are trained.
pub(crate) fn sizes(listed: &[NamedShape], groups: &Groups) -> [usize; 2] {
    let size = |shape: &[usize]| shape.iter().product::<usize>();
    let trained = groups.values().filter(|parameter| parameter.role == Role::Trained);
    [
        listed.iter().map(|parameter| size(&parameter.shape)).sum(),
        trained.map(|parameter| size(&parameter.shape)).sum(),
    ]
}

#[cfg(test)]
mod tests;
