//! Adapters: few parameters that are trained in the place of all.
//!
//! A model says where adapters can be ([`Adapt`]); [`insert`] puts them there by name pattern.
//! They are parts of the modules themselves, absent unless asked for. What was put into linear
//! layers (LoRA, (IA)³) can be made part of their weights ([`fold`]).

mod branch;
mod config;
mod low_rank;
mod prefix;
mod prompt;
#[cfg(test)]
mod tests;

pub use branch::{Bottleneck, BranchAdapters};
pub use config::{
    AdaptConfig, BitFitConfig, BottleneckConfig, Ia3Config, LoraConfig, ParallelConfig,
    PrefixConfig, PromptConfig,
};
pub use low_rank::{Ia3, Lora};
pub use prefix::Prefix;
pub use prompt::Prompt;
pub(crate) use prompt::Without;

use crate::{Attention, ConfigError, FeedForward, Linear, Transformer};
use kiln_core::{
    Backend,
    pattern::{matches, nearest},
};

/// A module that has places for adapters, or whose parts have.
pub trait Adapt<B: Backend> {
    /// Shows the places, each with its name; by default there are none.
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        let _ = walk;
    }
}

impl<B: Backend, M: Adapt<B>> Adapt<B> for Option<M> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        if let Some(module) = self {
            module.places(walk);
        }
    }
}

impl<B: Backend, M: Adapt<B>> Adapt<B> for Vec<M> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        for (number, module) in self.iter_mut().enumerate() {
            walk.enter(&number.to_string(), module);
        }
    }
}

/// Where an adapter can be.
#[derive(Debug)]
pub enum Place<'a, B: Backend> {
    /// Low-rank updates and factors.
    Linear(&'a mut Linear<B>),
    /// Blocks beside and after it; a prefix.
    Attention(&'a mut Attention<B>),
    /// Blocks beside and after it.
    FeedForward(&'a mut FeedForward<B>),
    /// A prompt.
    Transformer(&'a mut Transformer<B>),
}

/// The way through a model from place to place.
pub struct Walk<'a, B: Backend> {
    path: Vec<String>,
    visit: &'a mut dyn FnMut(&str, Place<'_, B>),
}

impl<B: Backend> Walk<'_, B> {
    /// Goes through a part, under its name.
    pub fn enter(&mut self, name: &str, part: &mut impl Adapt<B>) {
        self.path.push(name.to_owned());
        part.places(self);
        self.path.pop();
    }

    /// Shows the place at which the walk is.
    pub(crate) fn show(&mut self, place: Place<'_, B>) {
        (self.visit)(&self.path.join("."), place);
    }
}

/// Calls `visit` with each place for adapters and its name.
pub fn visit<B: Backend>(model: &mut impl Adapt<B>, mut visit: impl FnMut(&str, Place<'_, B>)) {
    model.places(&mut Walk { path: Vec::new(), visit: &mut visit });
}

/// Puts adapters into a model; but for prefix and prompt, it computes what it did before.
///
/// BitFit and [`AdaptConfig::train`] put nothing into a model and are not looked at.
///
/// # Errors
/// When a setting is out of range, a pattern fits no module, or a module has such an adapter
/// already.
pub fn insert<B: Backend>(
    model: &mut impl Adapt<B>,
    config: &AdaptConfig,
    device: &B::Device,
) -> Result<(), ConfigError> {
    config.validate()?;
    let plan = Plan::new(model, config)?;
    let mut taken = None;
    visit(model, |name, place| {
        if let Err(method) = plan.put(name, place, config, device) {
            taken.get_or_insert_with(|| (method, name.to_owned()));
        }
    });
    match taken {
        None => Ok(()),
        Some((method, name)) => {
            let expected = "modules without: the model it starts from has adapters there";
            Err(ConfigError::new(format!("{method}.modules"), format!("`{name}`"), expected))
        }
    }
}

/// Makes low-rank updates and factors part of the weights they belong to; the model computes what
/// it did before.
pub fn fold<B: Backend>(model: &mut impl Adapt<B>) {
    visit(model, |_, place| {
        if let Place::Linear(linear) = place {
            linear.fold();
        }
    });
}

/// Takes all adapters out of a model.
pub fn strip<B: Backend>(model: &mut impl Adapt<B>) {
    visit(model, |_, place| match place {
        Place::Linear(linear) => (linear.lora, linear.ia3) = (None, None),
        Place::Attention(attention) => {
            (attention.adapters, attention.prefix) = (BranchAdapters::none(), None);
        }
        Place::FeedForward(feed_forward) => feed_forward.adapters = BranchAdapters::none(),
        Place::Transformer(transformer) => transformer.prompt = None,
    });
}

/// The names that the patterns of each method chose.
struct Plan {
    lora: Vec<String>,
    ia3_outputs: Vec<String>,
    ia3_inputs: Vec<String>,
    bottleneck: Vec<String>,
    parallel: Vec<String>,
    prefix: Vec<String>,
    prompt: Vec<String>,
}

impl Plan {
    fn new<B: Backend>(
        model: &mut impl Adapt<B>,
        config: &AdaptConfig,
    ) -> Result<Self, ConfigError> {
        let [mut linears, mut attentions, mut branches, mut transformers] =
            [(); 4].map(|()| vec![]);
        visit(model, |name, place| match place {
            Place::Linear(_) => linears.push(name.to_owned()),
            Place::Attention(_) => {
                attentions.push(name.to_owned());
                branches.push(name.to_owned());
            }
            Place::FeedForward(_) => branches.push(name.to_owned()),
            Place::Transformer(_) => transformers.push(name.to_owned()),
        });
        let AdaptConfig { lora, ia3, bottleneck, parallel, prefix, prompt, .. } = config;
        Ok(Self {
            lora: choose("lora.modules", lora.as_ref().map(|one| &one.modules), &linears)?,
            ia3_outputs: choose("ia3.modules", ia3.as_ref().map(|one| &one.modules), &linears)?,
            ia3_inputs: choose(
                "ia3.feed_forward",
                ia3.as_ref().map(|one| &one.feed_forward),
                &linears,
            )?,
            bottleneck: choose(
                "bottleneck.modules",
                bottleneck.as_ref().map(|one| &one.modules),
                &branches,
            )?,
            parallel: choose(
                "parallel.modules",
                parallel.as_ref().map(|one| &one.modules),
                &branches,
            )?,
            prefix: choose("prefix.modules", prefix.as_ref().map(|one| &one.modules), &attentions)?,
            prompt: choose(
                "prompt.modules",
                prompt.as_ref().map(|one| &one.modules),
                &transformers,
            )?,
        })
    }

    /// Puts what was chosen into a place.
    ///
    /// # Errors
    /// The method of which an adapter is there already.
    fn put<B: Backend>(
        &self,
        name: &str,
        place: Place<'_, B>,
        config: &AdaptConfig,
        device: &B::Device,
    ) -> Result<(), &'static str> {
        let chosen = |names: &[String]| names.iter().any(|one| one == name);
        match place {
            Place::Linear(linear) => {
                if let Some(lora) = config.lora.as_ref().filter(|_| chosen(&self.lora)) {
                    free("lora", linear.lora.is_none())?;
                    linear.add_lora(lora, device);
                }
                let factors = [chosen(&self.ia3_inputs), chosen(&self.ia3_outputs)];
                if factors.contains(&true) {
                    free("ia3", linear.ia3.is_none())?;
                    linear.add_ia3(factors, device);
                }
                Ok(())
            }
            Place::Attention(attention) => {
                if let Some(prefix) = config.prefix.as_ref().filter(|_| chosen(&self.prefix)) {
                    free("prefix", attention.prefix.is_none())?;
                    let [kv_heads, head_width] = attention.shared();
                    let shape = [prefix.tokens, kv_heads, head_width];
                    attention.prefix = Some(Prefix::new(shape, device));
                }
                let (query, output) = (&attention.query.weight, &attention.output.weight);
                let sizes = [query.dims()[0], output.dims()[1]];
                self.put_branch(name, &mut attention.adapters, sizes, config, device)
            }
            Place::FeedForward(block) => {
                let sizes = [block.hidden.weight.dims()[0], block.output.weight.dims()[1]];
                self.put_branch(name, &mut block.adapters, sizes, config, device)
            }
            Place::Transformer(transformer) => {
                if let Some(prompt) = config.prompt.as_ref().filter(|_| chosen(&self.prompt)) {
                    free("prompt", transformer.prompt.is_none())?;
                    let width = transformer.width();
                    transformer.prompt = Some(Prompt::new([prompt.tokens, width], device));
                }
                Ok(())
            }
        }
    }

    fn put_branch<B: Backend>(
        &self,
        name: &str,
        branch: &mut BranchAdapters<B>,
        [inputs, outputs]: [usize; 2],
        config: &AdaptConfig,
        device: &B::Device,
    ) -> Result<(), &'static str> {
        let chosen = |names: &[String]| names.iter().any(|one| one == name);
        if let Some(one) = config.bottleneck.as_ref().filter(|_| chosen(&self.bottleneck)) {
            free("bottleneck", branch.bottleneck.is_none())?;
            let sizes = [outputs, one.width, outputs];
            branch.bottleneck = Some(Bottleneck::new(sizes, one.activation, 1.0, device));
        }
        if let Some(one) = config.parallel.as_ref().filter(|_| chosen(&self.parallel)) {
            free("parallel", branch.parallel.is_none())?;
            let sizes = [inputs, one.width, outputs];
            branch.parallel = Some(Bottleneck::new(sizes, one.activation, one.scale, device));
        }
        Ok(())
    }
}

fn free(method: &'static str, free: bool) -> Result<(), &'static str> {
    if free { Ok(()) } else { Err(method) }
}

/// The names that fit a pattern, each of which must fit one.
fn choose(
    key: &str,
    patterns: Option<&Vec<String>>,
    names: &[String],
) -> Result<Vec<String>, ConfigError> {
    let patterns = patterns.map_or(&[][..], Vec::as_slice);
    for (number, pattern) in patterns.iter().enumerate() {
        if !names.iter().any(|name| matches(pattern, name)) {
            let near = nearest(pattern, names.iter().map(String::as_str)).join(", ");
            let near = if near.is_empty() { "this model has none".to_owned() } else { near };
            let expected = format!("a pattern of modules that can have it; near it: {near}");
            return Err(ConfigError::new(
                format!("{key}.{number}"),
                format!("`{pattern}`"),
                expected,
            ));
        }
    }
    let fits = |name: &&String| patterns.iter().any(|pattern| matches(pattern, name));
    Ok(names.iter().filter(fits).cloned().collect())
}
