//! PEFT's directories as models: <https://huggingface.co/docs/peft/developer_guides/checkpoint>.

use super::files::{PEFT_CONFIG, PEFT_WEIGHTS};
use crate::{
    HubError, Result, Weight, Weights,
    json_file::{CONFIG, read_json},
    layout::compile,
};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

/// PyTorch's own format, in which PEFT once wrote.
const PYTORCH: &str = "adapter_model.bin";

/// Whether a directory holds an adapter of PEFT's and no model.
pub(crate) fn is_peft(dir: &Path) -> bool {
    dir.join(PEFT_CONFIG).exists() && !dir.join(CONFIG).exists()
}

/// What is read of `adapter_config.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Peft {
    peft_type: String,
    base_model_name_or_path: Option<String>,
    #[serde(default)]
    revision: Option<String>,
    #[serde(default)]
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
}

impl Peft {
    /// Reads an adapter's configuration.
    ///
    /// # Errors
    /// When it cannot be read, or is of another method than LoRA.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(PEFT_CONFIG);
        let peft: Self = read_json(&path)?;
        let cause = if peft.peft_type != "LORA" {
            format!("`peft_type` is {}; expected LORA", peft.peft_type)
        } else if peft.use_dora {
            "`use_dora` is true; expected false".to_owned()
        } else {
            return Ok(peft);
        };
        Err(HubError::Config { path, cause })
    }

    /// The model that it adapts, as [`crate::resolve`] takes it; `dir` is the adapter's directory.
    ///
    /// # Errors
    /// When it names none, or an adapter.
    pub(crate) fn base(&self, dir: &Path) -> Result<String> {
        let wrong = |cause: String| HubError::Config { path: dir.join(PEFT_CONFIG), cause };
        let Some(base) = self.base_model_name_or_path.as_deref().filter(|base| !base.is_empty())
        else {
            return Err(wrong(
                "`base_model_name_or_path` is missing: name the model it adapts".into(),
            ));
        };
        if is_peft(Path::new(base)) {
            return Err(wrong(format!("the model it adapts, {base}, is an adapter itself")));
        }
        Ok(match self.revision.as_deref() {
            Some(revision) if !Path::new(base).exists() => format!("{base}@{revision}"),
            _ => base.to_owned(),
        })
    }

    /// Merges the adapter into its base's weights, in their names.
    ///
    /// # Errors
    /// When it cannot be read or does not fit the base.
    pub(crate) fn merge(&self, dir: &Path, base: &mut Weights) -> Result<()> {
        let file = [PEFT_WEIGHTS, PYTORCH].map(|name| dir.join(name));
        let [file, old] = file;
        let file = if file.exists() || !old.exists() { file } else { old };
        let mut adapter = Weights::read_file(&file)?.tensors;
        let names: Vec<String> = adapter.keys().cloned().collect();
        for name in &names {
            let Some(module) = name.strip_suffix(".lora_A.weight") else { continue };
            let wrong =
                |cause: &str| HubError::Tensor { tensor: name.clone(), cause: cause.into() };
            let up = adapter.remove(&format!("{module}.lora_B.weight"));
            let (Some(down), Some(up)) = (adapter.remove(name), up) else {
                return Err(wrong("has no lora_B beside it"));
            };
            let module = plain(module);
            let target = find(base, &format!("{module}.weight"))
                .and_then(|target| base.tensors.get_mut(&target))
                .ok_or_else(|| wrong("the model it adapts has no such layer"))?;
            let scale = self.scale(&module, down.shape.first().copied().unwrap_or(1))?;
            add(target, &down, &up, scale, self.fan_in_fan_out)
                .ok_or_else(|| wrong("does not fit the layer that it adapts"))?;
        }
        // PEFT's `modules_to_save`.
        for (name, tensor) in adapter {
            if name.contains(".lora_") {
                let cause = "is of a layer that is not linear, which cannot be merged".to_owned();
                return Err(HubError::Tensor { tensor: name, cause });
            }
            let name = plain(&name);
            let target = find(base, &name).unwrap_or(name);
            base.tensors.insert(target, tensor);
        }
        Ok(())
    }

    fn scale(&self, module: &str, rank: usize) -> Result<f64> {
        let mut alpha = self.lora_alpha;
        for (pattern, value) in &self.alpha_pattern {
            if compile(&format!(r"^(.*\.)?({pattern})$"))?.is_match(module) {
                alpha = *value;
            }
        }
        let rank = rank.max(1) as f64;
        Ok(alpha / if self.use_rslora { rank.sqrt() } else { rank })
    }
}

/// A name without what PEFT puts around it.
fn plain(name: &str) -> String {
    name.strip_prefix("base_model.model.").unwrap_or(name).replace(".base_layer", "")
}

/// The tensor of this name, or the only one whose name ends so or that this name ends with: classes
/// with a head put all they hold under a name of their own.
fn find(weights: &Weights, name: &str) -> Option<String> {
    if weights.tensors.contains_key(name) {
        return Some(name.to_owned());
    }
    let ends = |long: &str, short: &str| {
        long.strip_suffix(short).is_some_and(|before| before.ends_with('.'))
    };
    let mut fitting = weights.tensors.keys().filter(|one| ends(one, name) || ends(name, one));
    let found = fitting.next()?;
    fitting.next().is_none().then(|| found.clone())
}

/// Adds `scale · up · down` to a layer, `[rank, inputs]` and `[outputs, rank]`; `transposed` where it is
/// kept as `[inputs, outputs]`. `None` where the shapes do not fit.
fn add(
    target: &mut Weight,
    down: &Weight,
    up: &Weight,
    scale: f64,
    transposed: bool,
) -> Option<()> {
    let ([rank, inputs], [outputs, up_rank]) = (&down.shape[..], &up.shape[..]) else {
        return None;
    };
    let (rank, inputs, outputs) = (*rank, *inputs, *outputs);
    let transposed = transposed || inputs != outputs && target.shape == [inputs, outputs];
    let expected = if transposed { [inputs, outputs] } else { [outputs, inputs] };
    if *up_rank != rank || target.shape != expected || rank == 0 {
        return None;
    }
    let columns = expected[1].max(1);
    for (row, values) in target.values.chunks_exact_mut(columns).enumerate() {
        for (column, value) in values.iter_mut().enumerate() {
            let (output, input) = if transposed { (column, row) } else { (row, column) };
            let ups = up.values.iter().skip(output * rank).take(rank);
            let downs = down.values.iter().skip(input).step_by(inputs);
            let sum: f64 = ups.zip(downs).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            *value += (scale * sum) as f32;
        }
    }
    Some(())
}
