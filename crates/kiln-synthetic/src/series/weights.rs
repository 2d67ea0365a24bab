//! How often a corpus draws each family and each distance between rows.

use kiln_datasets::Frequency;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Mixture weights of the generator families, in any unit. A series'
/// [`kiln_datasets::Series::group`] is its family's place here.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FamilyWeights {
    /// Profiles on a moving level under noise: what most real series look like.
    pub seasonal: f64,
    /// Compositions of Gaussian-process kernels.
    pub gp: f64,
    /// Trends and walks.
    pub trend: f64,
    /// Autoregressions.
    pub arma: f64,
    /// Series that are shifted, switched, cut off and disturbed.
    pub regime: f64,
    /// Intermittent demand and counts.
    pub intermittent: f64,
    /// Mixtures of two or three of the others.
    pub mixup: f64,
}

impl Default for FamilyWeights {
    fn default() -> Self {
        Self {
            seasonal: 0.5,
            gp: 0.13,
            trend: 0.08,
            arma: 0.07,
            regime: 0.06,
            intermittent: 0.04,
            mixup: 0.12,
        }
    }
}

impl FamilyWeights {
    /// The families' names in the order of [`kiln_datasets::Series::group`].
    pub const NAMES: [&'static str; 7] =
        ["seasonal", "gp", "trend", "arma", "regime", "intermittent", "mixup"];

    pub(super) fn weights(&self) -> [f64; 7] {
        let Self { seasonal, gp, trend, arma, regime, intermittent, mixup } = *self;
        [seasonal, gp, trend, arma, regime, intermittent, mixup]
    }
}

/// Weights of the distances between rows, in any unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // The names say it.
pub struct ResolutionWeights {
    pub minutely: f64,
    pub ten_minutely: f64,
    pub quarter_hourly: f64,
    pub half_hourly: f64,
    pub hourly: f64,
    pub daily: f64,
    pub weekly: f64,
    pub monthly: f64,
    pub quarterly: f64,
    pub yearly: f64,
    /// Numbered rows, with periods of any length.
    pub undated: f64,
}

impl Default for ResolutionWeights {
    fn default() -> Self {
        Self {
            minutely: 0.02,
            ten_minutely: 0.03,
            quarter_hourly: 0.09,
            half_hourly: 0.06,
            hourly: 0.42,
            daily: 0.13,
            weekly: 0.1,
            monthly: 0.06,
            quarterly: 0.02,
            yearly: 0.02,
            undated: 0.05,
        }
    }
}

impl ResolutionWeights {
    pub(super) fn pairs(&self) -> [(&'static str, f64, Frequency); 11] {
        [
            ("minutely", self.minutely, Frequency::Seconds(60)),
            ("ten_minutely", self.ten_minutely, Frequency::Seconds(600)),
            ("quarter_hourly", self.quarter_hourly, Frequency::Seconds(900)),
            ("half_hourly", self.half_hourly, Frequency::Seconds(1800)),
            ("hourly", self.hourly, Frequency::HOURLY),
            ("daily", self.daily, Frequency::DAILY),
            ("weekly", self.weekly, Frequency::WEEKLY),
            ("monthly", self.monthly, Frequency::MONTHLY),
            ("quarterly", self.quarterly, Frequency::QUARTERLY),
            ("yearly", self.yearly, Frequency::YEARLY),
            ("undated", self.undated, Frequency::Unknown),
        ]
    }
}
