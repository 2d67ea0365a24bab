//! The modalities of this binary: to add one, add a line.

use crate::{
    cli,
    failure::{Failure, Result},
    models,
};
use kiln_hub::ModelDir;
use kiln_speech::SPEECH;
use kiln_text::modality::TEXT;
use kiln_timeseries::{TIMESERIES, forecaster::Forecaster, job::open_forecaster};
use kiln_train::{
    modality::{Job, Modality},
    recipe::{self, Device, RecipeError, RecipeText},
};

/// What to say when CUDA is asked of a binary without it.
const NO_CUDA: &str = "build it with `--features cuda`, or compute on the `cpu`";

/// Every modality, in the order in which they are listed.
const MODALITIES: &[&dyn Modality] = &[&TIMESERIES, &SPEECH, &TEXT];

/// Every modality.
pub fn all() -> &'static [&'static dyn Modality] {
    MODALITIES
}

/// Their names, for messages.
pub fn names() -> String {
    all().iter().map(|modality| modality.name()).collect::<Vec<_>>().join(", ")
}

/// A modality by name.
pub fn by_name(name: &str) -> Result<&'static dyn Modality> {
    all().iter().find(|modality| modality.name() == name).copied().ok_or_else(|| {
        Failure::user(
            format!("there is no modality `{name}`"),
            format!("modalities of this build: {}", names()),
        )
    })
}

/// Understands a recipe, whatever its modality.
pub fn job(text: &RecipeText) -> Result<Box<dyn Job>> {
    let name = recipe::modality(text)?;
    let Some(modality) = all().iter().find(|modality| modality.name() == name) else {
        let error = RecipeError::at(text, "modality", format!("there is no modality `{name}`"));
        return Err(error.with_help(format!("modalities of this build: {}", names())).into());
    };
    let job = modality.job(text)?;
    if job.common().device == Device::Cuda && !cfg!(feature = "cuda") {
        let error = RecipeError::at(text, "device", "this binary was built without CUDA");
        return Err(error.with_help(NO_CUDA).into());
    }
    Ok(job)
}

/// Opens a model for forecasting.
pub fn forecaster(model: &ModelDir, device: cli::Device) -> Result<Box<dyn Forecaster>> {
    let modality = models::owner(model)?;
    if modality.name() != TIMESERIES.name() {
        return Err(Failure::user(
            format!("{} forecasts nothing: it is for {}", model.path.display(), modality.name()),
            "name a model that was trained on time series",
        ));
    }
    let device = self::device(device)?;
    Ok(open_forecaster(&model.path, device).map_err(kiln_train::Error::from)?)
}

/// The device that was asked for, if this binary has it.
pub fn device(device: cli::Device) -> Result<Device> {
    match device {
        cli::Device::Cpu => Ok(Device::Cpu),
        cli::Device::Cuda if cfg!(feature = "cuda") => Ok(Device::Cuda),
        cli::Device::Cuda => Err(Failure::user("this binary was built without CUDA", NO_CUDA)),
    }
}
