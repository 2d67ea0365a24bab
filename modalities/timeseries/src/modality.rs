//! Time series among the modalities.

use crate::{
    SeriesModelConfig,
    commands::VERBS,
    data::StageDataError,
    forecast::RequestError,
    forecaster::ForecastError,
    job::SeriesJob,
    measure::MeasureError,
    recipe::{MODALITY, SeriesSpec},
};
use kiln_core::blame::{BlameOf, blame_of};
use kiln_datasets::DataError;
use kiln_hub::family;
use kiln_train::{
    modality::{Job, Modality},
    recipe::{RecipeText, schema},
    task::TaskError,
    verb::Verb,
};
use std::path::Path;

/// Time series.
pub static TIMESERIES: TimeSeries = TimeSeries;

/// Errors that say whom they are attributed to.
static ERRORS: [BlameOf; 5] = [
    blame_of::<DataError>,
    blame_of::<StageDataError>,
    blame_of::<RequestError>,
    blame_of::<ForecastError>,
    blame_of::<MeasureError>,
];

/// The modality's entry in the binary's list.
#[derive(Debug)]
pub struct TimeSeries;

impl Modality for TimeSeries {
    fn name(&self) -> &'static str {
        MODALITY
    }

    fn job(&self, text: &RecipeText) -> kiln_train::Result<Box<dyn Job>> {
        Ok(Box::new(SeriesJob::new(text)?))
    }

    fn schema(&self) -> schemars::Schema {
        schema::<SeriesSpec>()
    }

    fn owns(&self, model_type: &str) -> bool {
        family::model_types::<SeriesModelConfig>().any(|known| known == model_type)
    }

    fn verbs(&self) -> &'static [Verb] {
        &VERBS
    }

    fn errors(&self) -> &'static [BlameOf] {
        &ERRORS
    }

    fn log_targets(&self) -> &'static [&'static str] {
        &["kiln_timeseries"]
    }

    fn facts(&self, dir: &Path) -> kiln_train::Result<Vec<(String, String)>> {
        let config = family::read_config::<SeriesModelConfig>(dir).map_err(TaskError::from)?;
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
        Ok(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::blame::is_users;

    #[test]
    fn a_request_is_the_users_and_a_failing_model_is_not() {
        let users = |error: &RequestError| is_users(error, TIMESERIES.errors());
        assert!(users(&RequestError::NoSeries));
        assert!(!users(&RequestError::Forecast(ForecastError::Model("x".into()))));
    }
}
