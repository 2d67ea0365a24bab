//! From a recipe's data to windows.

use crate::{
    SeriesModelConfig,
    recipe::{EmbeddedData, GeneratedData, M4Data, PriceData, SeriesData, ShareOf},
    windows::{GeneratedWindows, SeriesWindows, Window},
};
use kiln_core::{Seed, Size};
use kiln_datasets::{
    DataError, Series, SplitPart, SplitProtocol, Standardizer, TableSpec, embedded, files::locate,
    m4,
};
use kiln_synthetic::Prices;
use kiln_train::task::TaskSource;
use ndarray::{Array2, s};
use std::sync::Arc;

/// All windows.
const WHOLE: (f64, ShareOf) = (1.0, ShareOf::Latest);
/// Windows looked at in a validation.
const VALIDATION_WINDOWS: usize = 1024;

/// What a stage trains on.
pub struct StageData {
    /// Training windows.
    pub source: TaskSource<Window>,
    /// Whether their order is drawn.
    pub shuffle: bool,
    /// Windows set aside.
    pub validation: Vec<Window>,
    /// Whether all windows are in the same units: cut from one series, or standardised.
    pub comparable: bool,
}

impl StageData {
    /// How many training windows there are; `None` for a generator.
    pub fn examples(&self) -> Option<u64> {
        match self.source.size() {
            Size::Known(count) => Some(count),
            Size::Endless => None,
        }
    }
}

/// Why there are no windows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageDataError {
    /// The data could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Series of one batch must have as many channels.
    #[error(
        "series `{first}` has {expected} channels and `{other}` has {found}; train on files with \
         the same columns"
    )]
    Channels {
        /// The first series.
        first: String,
        /// Its channels.
        expected: usize,
        /// The first one that differs.
        other: String,
        /// Its channels.
        found: usize,
    },
    /// Nothing long enough.
    #[error(
        "the training part has no window: its longest series has {longest} rows, and a horizon of \
         {horizon} needs at least {}", horizon + 2
    )]
    TooShort {
        /// Rows of the longest series.
        longest: usize,
        /// Rows forecast.
        horizon: usize,
    },
    /// The model needs another number of channels.
    #[error("the model has {expected} channels (`model.*.channels`), the data has {found}")]
    ModelChannels {
        /// The model's.
        expected: usize,
        /// The data's.
        found: usize,
    },
}

impl kiln_core::blame::Blamed for StageDataError {}

/// Reads a table, wherever [`locate`] finds it.
///
/// # Errors
/// As [`TableSpec::read`].
pub fn read_table(spec: &TableSpec) -> Result<Vec<Series>, DataError> {
    TableSpec { path: locate(&spec.path)?, ..spec.clone() }.read()
}

/// Daily log returns of prices; the first day has none and is left out.
pub fn log_returns(market: &Prices, seed: Seed) -> Result<Vec<Series>, DataError> {
    let mut stocks = market.generate(seed)?;
    for stock in &mut stocks {
        let rows = stock.len().saturating_sub(1);
        let prices = &stock.values;
        let returns = Array2::from_shape_fn((rows, prices.ncols()), |(row, channel)| {
            (prices[(row + 1, channel)] / prices[(row, channel)]).ln()
        });
        stock.values = returns;
        stock.start = stock.start.and_then(|start| stock.frequency.after(start, 1));
    }
    Ok(stocks)
}

/// Opens the data of a stage.
///
/// # Errors
/// When it cannot be read, or does not fit the model.
pub fn open(
    data: &SeriesData,
    config: &SeriesModelConfig,
    seed: Seed,
) -> Result<StageData, StageDataError> {
    match data {
        SeriesData::Generated(generated) => open_generated(generated, config, seed),
        SeriesData::Table(table) => {
            if !(table.share > 0.0 && table.share <= 1.0) {
                let error = DataError::config("share", table.share, "more than 0, at most 1");
                return Err(error.into());
            }
            let series = read_table(&table.source)?;
            let share = (table.share, table.share_of);
            cut(series, table.split, config, share, table.standardise)
        }
        SeriesData::M4(M4Data { train, validation, frequency }) => {
            let series = m4::read_series(&locate(train)?, *frequency)?;
            cut(
                series,
                SplitProtocol::Tail { test: 0, validation: *validation },
                config,
                WHOLE,
                false,
            )
        }
        SeriesData::Embedded(EmbeddedData { names, split }) => {
            let sets = embedded::chosen(names)?;
            let series: Vec<_> = sets.into_iter().flat_map(|set| set.series).collect();
            cut(series, *split, config, WHOLE, false)
        }
        SeriesData::Prices(PriceData { market, split }) => {
            cut(log_returns(market, seed)?, *split, config, WHOLE, false)
        }
    }
}

fn open_generated(
    generated: &GeneratedData,
    config: &SeriesModelConfig,
    seed: Seed,
) -> Result<StageData, StageDataError> {
    let cut = generated.short_histories;
    if !(0.0..=1.0).contains(&cut) {
        return Err(DataError::config("short_histories", cut, "0 to 1").into());
    }
    let mut corpus = generated.corpus.clone();
    corpus.length = config.context + config.horizon;
    if let Some(channels) = config.channels.filter(|_| config.fixes_channels()) {
        corpus.channels = channels;
    }
    corpus.validate()?;
    let windows = |label: &str| GeneratedWindows {
        corpus: corpus.clone(),
        seed: seed.part(label),
        context: config.context,
        horizon: config.horizon,
        short_histories: generated.short_histories,
    };
    let held_out = windows("held-out");
    let validation = (0..generated.validation as u64).map(|index| held_out.window(index)).collect();
    Ok(StageData {
        source: Arc::new(windows("corpus")),
        shuffle: false,
        validation,
        comparable: false,
    })
}

/// Cuts series into windows by a split protocol. Series too short for it train whole.
fn cut(
    mut series: Vec<Series>,
    protocol: SplitProtocol,
    config: &SeriesModelConfig,
    (share, share_of): (f64, ShareOf),
    standardise: bool,
) -> Result<StageData, StageDataError> {
    check_channels(&series, config)?;
    let alone = series.len() == 1;
    let mut train = Vec::with_capacity(series.len());
    let mut validation = Vec::with_capacity(series.len());
    for each in &mut series {
        let split = match protocol.split(each) {
            Ok(split) => split,
            Err(error) if alone => return Err(error.into()),
            Err(_) => kiln_datasets::Split {
                train: SplitPart { rows: 0..each.len() },
                ..Default::default()
            },
        };
        if standardise {
            let scale = Standardizer::fit(each.values.slice(s![split.train.rows.clone(), ..]));
            scale.apply(&mut each.values);
        }
        train.push(split.train);
        validation.push(split.validation);
    }
    let (context, horizon) = (config.context, config.horizon);
    let held_out = SeriesWindows::new(series.clone(), &validation, context, horizon, 1.0, true)
        .sample(VALIDATION_WINDOWS);
    let longest = train.iter().map(SplitPart::len).max().unwrap_or(0);
    let windows = match share_of {
        ShareOf::Latest => SeriesWindows::new(series, &train, context, horizon, share, false),
        ShareOf::Spread => {
            SeriesWindows::new(series, &train, context, horizon, 1.0, false).spread(share)
        }
    };
    if windows.is_empty() {
        return Err(StageDataError::TooShort { longest, horizon });
    }
    Ok(StageData {
        source: Arc::new(windows),
        shuffle: true,
        validation: held_out,
        comparable: alone || standardise,
    })
}

fn check_channels(series: &[Series], config: &SeriesModelConfig) -> Result<(), StageDataError> {
    let Some(first) = series.first() else { return Ok(()) };
    let expected = first.values.ncols();
    if let Some(other) = series.iter().find(|each| each.values.ncols() != expected) {
        return Err(StageDataError::Channels {
            first: first.id.clone(),
            expected,
            other: other.id.clone(),
            found: other.values.ncols(),
        });
    }
    match config.channels.filter(|channels| config.fixes_channels() && *channels != expected) {
        Some(channels) => {
            Err(StageDataError::ModelChannels { expected: channels, found: expected })
        }
        None => Ok(()),
    }
}
