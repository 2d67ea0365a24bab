//! Time series among the modalities.

use crate::{
    SeriesModelConfig, commands::VERBS, data::StageDataError, forecast::RequestError,
    forecaster::ForecastError, job::Series, measure::MeasureError, recipe::MODALITY,
};
use kiln_core::blame::{BlameOf, blame_of};
use kiln_datasets::DataError;
use kiln_hub::family;
use kiln_train::{
    modality::{Facts, Modality},
    task::TaskError,
};
use std::path::Path;

/// Time series.
pub const TIMESERIES: Modality = Modality {
    verbs: &VERBS,
    errors: &ERRORS,
    log_targets: &["kiln_timeseries"],
    ..Modality::of::<Series>(MODALITY, facts)
};

/// Errors that say whom they are attributed to.
const ERRORS: [BlameOf; 5] = [
    blame_of::<DataError>,
    blame_of::<StageDataError>,
    blame_of::<RequestError>,
    blame_of::<ForecastError>,
    blame_of::<MeasureError>,
];

fn facts(dir: &Path) -> kiln_train::Result<Facts> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::blame::is_users;

    #[test]
    fn a_request_is_the_users_and_a_failing_model_is_not() {
        let users = |error: &RequestError| is_users(error, TIMESERIES.errors);
        assert!(users(&RequestError::NoSeries));
        assert!(!users(&RequestError::Forecast(ForecastError::Model("x".into()))));
    }
}
