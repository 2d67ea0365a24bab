//! Split protocols: which rows train, which validate, which test.
//!
//! Parts are in order of time and do not overlap. A forecast at the first row of a part may look
//! back into the part before it: [`SplitPart::window`] is the part with that borrowed context, as in the
//! long-term forecasting literature since Informer (<https://arxiv.org/abs/2012.07436>), where
//! validation and test windows start `context` rows earlier so that their first *forecast* row is
//! the part's first row.

use crate::{DataError, Frequency, Result, Series};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Train, validation and test split of a series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SplitProtocol {
    /// Shares of the rows in order of time; what `train` and `validation` leave is the test part.
    Chronological {
        /// Share of the training part, above 0 and below 1.
        train: f64,
        /// Share of the validation part, 0 or more; less than 1 together with `train`.
        validation: f64,
    },
    /// ETT's 12, 4 and 4 months of 30 days; later rows are not used. Hourly or 15-minute rows.
    Ett,
    /// The last rows are held out.
    Tail {
        /// Rows of the test part.
        test: usize,
        /// Rows of the validation part before it.
        #[serde(default)]
        validation: usize,
    },
}

impl Default for SplitProtocol {
    /// 70 % train, 10 % validation, 20 % test: the custom of the long-term forecasting benchmarks.
    fn default() -> Self {
        Self::Chronological { train: 0.7, validation: 0.1 }
    }
}

/// Consecutive rows of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitPart {
    /// The rows that belong to the part: what may be forecast, and scored.
    pub rows: Range<usize>,
}

impl SplitPart {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The part with up to `context` rows borrowed from before it.
    pub fn window(&self, context: usize) -> Range<usize> {
        self.rows.start.saturating_sub(context)..self.rows.end
    }

    /// The first forecast row of every window with a full `context` before it and `horizon` rows
    /// of the part from there on. For a training part the context counts as rows of the part.
    pub fn origins(&self, context: usize, horizon: usize) -> Range<usize> {
        let first = self.rows.start.max(context);
        first..(self.rows.end + 1).saturating_sub(horizon).max(first)
    }
}

/// The train, validation and test parts of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// What models and scalers are fitted on.
    pub train: SplitPart,
    /// What training is stopped by.
    pub validation: SplitPart,
    /// What is reported.
    pub test: SplitPart,
}

impl SplitProtocol {
    /// Cuts a series.
    ///
    /// # Errors
    /// When it is too short, when its frequency has no such protocol, or when shares make no sense.
    pub fn split(&self, series: &Series) -> Result<Split> {
        let rows = series.len();
        let too_short = |protocol, needed| DataError::TooShort {
            id: series.id.clone(),
            rows,
            protocol,
            needed,
        };
        match *self {
            Self::Chronological { train, validation } => {
                check_shares(train, validation)?;
                if rows < 2 {
                    return Err(too_short("chronological", 2));
                }
                // Truncated as the benchmarks do; at least one row trains and one tests.
                let train_end = ((rows as f64 * train) as usize).clamp(1, rows - 1);
                let test = ((rows as f64 * (1.0 - train - validation) + 1e-9) as usize)
                    .clamp(1, rows - train_end);
                Ok(cut(train_end, rows - test, rows))
            }
            Self::Ett => {
                let month = match series.frequency {
                    Frequency::Seconds(900) => 30 * 24 * 4,
                    // Undated rows are taken for the hourly files.
                    Frequency::HOURLY | Frequency::Unknown => 30 * 24,
                    other => {
                        return Err(DataError::Config {
                            key: "split".into(),
                            found: format!("`ett` for {other} rows (series `{}`)", series.id),
                            expected: "hourly or 15-minute rows, or another split".into(),
                        });
                    }
                };
                if rows < 20 * month {
                    return Err(too_short("ett", 20 * month));
                }
                Ok(cut(12 * month, 16 * month, 20 * month))
            }
            Self::Tail { test, validation } => {
                let held_out = test.saturating_add(validation);
                if rows <= held_out {
                    return Err(too_short("tail", held_out.saturating_add(1)));
                }
                Ok(cut(rows - held_out, rows - test, rows))
            }
        }
    }
}

fn check_shares(train: f64, validation: f64) -> Result<()> {
    let sensible = train > 0.0 && validation >= 0.0 && train + validation < 1.0;
    if sensible {
        return Ok(());
    }
    Err(DataError::Config {
        key: "split".into(),
        found: format!("train = {train}, validation = {validation}"),
        expected: "train above 0, validation 0 or more, and together below 1".into(),
    })
}

fn cut(train: usize, validation: usize, test: usize) -> Split {
    let part = |rows| SplitPart { rows };
    Split {
        train: part(0..train),
        validation: part(train..validation),
        test: part(validation..test),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(rows: usize, frequency: Frequency) -> Series {
        Series::univariate("s", vec![0.0; rows], frequency)
    }

    #[test]
    fn ett_is_twelve_four_four_months() {
        let split = SplitProtocol::Ett.split(&series(17_420, Frequency::HOURLY)).unwrap();
        assert_eq!(split.train.rows, 0..8640);
        assert_eq!(split.validation.rows, 8640..11_520);
        assert_eq!(split.test.rows, 11_520..14_400);
        assert_eq!(split.test.window(512), 11_008..14_400);
        // The count every paper has: 2880 - 96 + 1 windows.
        assert_eq!(split.test.origins(512, 96).len(), 2785);
        assert_eq!(split.train.origins(512, 96).len(), 8640 - 512 - 96 + 1);
        let quarter = SplitProtocol::Ett.split(&series(69_680, Frequency::Seconds(900))).unwrap();
        assert_eq!(quarter.train.rows, 0..34_560);
        assert_eq!(quarter.test.rows, 46_080..57_600);
    }

    #[test]
    fn a_tail_is_cut_off_the_end() {
        let split = SplitProtocol::Tail { test: 3, validation: 2 };
        let split = split.split(&series(10, Frequency::DAILY)).unwrap();
        assert_eq!((split.train.rows, split.validation.rows, split.test.rows), (0..5, 5..7, 7..10));
    }

    #[test]
    fn mistakes_are_named() {
        let message = |protocol: SplitProtocol, rows, frequency| {
            protocol.split(&series(rows, frequency)).unwrap_err().to_string()
        };
        assert_eq!(
            message(SplitProtocol::Ett, 100, Frequency::HOURLY),
            "series `s` has 100 rows, the ett split needs at least 14400"
        );
        assert!(message(SplitProtocol::Ett, 20_000, Frequency::DAILY).contains("for daily rows"));
        let shares = SplitProtocol::Chronological { train: 0.9, validation: 0.2 };
        assert!(message(shares, 100, Frequency::DAILY).contains("together below 1"));
        let nan = SplitProtocol::Chronological { train: f64::NAN, validation: 0.2 };
        assert!(nan.split(&series(100, Frequency::DAILY)).is_err());
        let tail = SplitProtocol::Tail { test: usize::MAX, validation: 2 };
        assert!(tail.split(&series(100, Frequency::DAILY)).is_err());
    }

    #[test]
    fn a_recipe_can_name_a_protocol() {
        #[derive(Deserialize)]
        struct Recipe {
            split: SplitProtocol,
        }
        let split = |text: &str| toml::from_str::<Recipe>(text).map(|recipe| recipe.split);
        assert_eq!(split("split = \"ett\"").unwrap(), SplitProtocol::Ett);
        let tail = split("split.tail = { test = 13 }").unwrap();
        assert_eq!(tail, SplitProtocol::Tail { test: 13, validation: 0 });
        assert!(split("split.tail = { tst = 13 }").is_err());
    }

    proptest! {
        #[test]
        fn parts_follow_each_other(rows in 2usize..5000, train in 0.01f64..0.9, rest in 0.0f64..0.99) {
            let validation = (1.0 - train) * rest;
            let protocol = SplitProtocol::Chronological { train, validation };
            let split = protocol.split(&series(rows, Frequency::Unknown)).unwrap();
            prop_assert_eq!(split.train.rows.start, 0);
            prop_assert_eq!(split.train.rows.end, split.validation.rows.start);
            prop_assert_eq!(split.validation.rows.end, split.test.rows.start);
            prop_assert_eq!(split.test.rows.end, rows);
            prop_assert!(!split.train.is_empty() && !split.test.is_empty());
        }

        #[test]
        fn every_origin_has_its_context_and_horizon(
            rows in 2usize..500, context in 0usize..100, horizon in 1usize..100, test in 1usize..200,
        ) {
            prop_assume!(test < rows);
            let split = SplitProtocol::Tail { test, validation: 0 };
            let split = split.split(&series(rows, Frequency::Unknown)).unwrap();
            for origin in split.test.origins(context, horizon) {
                prop_assert!(origin >= context && origin >= split.test.rows.start);
                prop_assert!(origin + horizon <= rows);
            }
        }
    }
}
