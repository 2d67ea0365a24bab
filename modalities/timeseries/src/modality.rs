//! Time series among the modalities.

use crate::{SeriesModelConfig, job::SeriesJob, recipe::SeriesParts};
use kiln_hub::family;
use kiln_train::{
    modality::{Job, Modality, ModelSummary},
    recipe::{RecipeText, schema},
    task::TaskError,
};
use std::path::Path;

/// Time series.
pub static TIMESERIES: TimeSeries = TimeSeries;

/// The modality's entry in the binary's list.
#[derive(Debug)]
pub struct TimeSeries;

impl Modality for TimeSeries {
    fn name(&self) -> &'static str {
        "timeseries"
    }

    fn job(&self, text: &RecipeText) -> kiln_train::Result<Box<dyn Job>> {
        Ok(Box::new(SeriesJob::new(text)?))
    }

    fn schema(&self) -> schemars::Schema {
        schema::<SeriesParts>()
    }

    fn owns(&self, model_type: &str) -> bool {
        family::model_types::<SeriesModelConfig>().any(|known| known == model_type)
    }

    fn describe_model(&self, dir: &Path) -> kiln_train::Result<ModelSummary> {
        let config = family::read_config::<SeriesModelConfig>(dir).map_err(TaskError::from)?;
        let opened = kiln_hub::ModelDir::open(dir).map_err(TaskError::from)?;
        let mut facts = vec![
            ("context".into(), format!("{} rows", config.context)),
            ("horizon".into(), format!("{} rows", config.rows())),
            ("patches".into(), format!("{} of {} rows", config.patches(), config.frontend.patch)),
            ("width".into(), config.width.to_string()),
            ("backbone".into(), config.backbone.name().into()),
        ];
        if let Some(channels) = config.channels.filter(|_| config.fixes_channels()) {
            facts.push(("channels".into(), channels.to_string()));
        }
        if !config.quantiles().is_empty() {
            let levels: Vec<_> = config.quantiles().iter().map(ToString::to_string).collect();
            facts.push(("quantiles".into(), levels.join(", ")));
        }
        Ok(ModelSummary {
            model_type: opened.model_type().to_owned(),
            parameters: opened.parameters().map_err(TaskError::from)?,
            facts,
        })
    }
}
