//! Commands of the binary for time series.

mod forecast;

use kiln_train::verb::Verb;

/// The commands.
pub(crate) static VERBS: [Verb; 1] = [Verb::new::<forecast::Forecast>()];
