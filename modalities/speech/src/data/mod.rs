//! From a recipe's data to examples.

mod error;
mod examples;
mod pool;
mod speaker_cmvn;

pub use error::StageDataError;
pub use examples::{Bad, Examples, Item, Recordings};
pub use pool::Pool;
pub use speaker_cmvn::SpeakerCmvn;

use crate::{
    SpeechError, SpeechModelConfig,
    batch::{Collator, frame_spectrogram},
    cluster::KMeans,
    config::TokenHeadConfig,
    frontend::StemConfig,
    log_mel::{LogMel, LogMelConfig},
    recipe::{SpeechData, Transcripts},
    vocabulary::{Specials, Vocabulary},
};
use kiln_core::Seed;
use kiln_nn::ConfigError;
use ndarray::{Array2, Axis, concatenate};
use rand::seq::SliceRandom as _;
use std::{collections::BTreeMap, iter, sync::Arc};

/// Recordings whose spectrograms units are found in.
const CLUSTERED: usize = 200;
/// Rounds of clustering.
const ROUNDS: usize = 50;

/// What a stage trains on.
pub struct StageData {
    /// Training examples.
    pub train: Arc<Recordings>,
    /// Recordings set aside.
    pub validation: Recordings,
    /// The tokens of the CTC head, where transcription is learned.
    pub vocabulary: Option<Arc<Vocabulary>>,
}

/// The recordings that a stage may use, chosen by share and by transcript, in an order drawn by the
/// seed.
///
/// # Errors
/// When they cannot be listed.
pub fn choose(data: &SpeechData, rate: usize, seed: Seed) -> Result<Pool, StageDataError> {
    if !(data.share > 0.0 && data.share <= 1.0) {
        return Err(ConfigError::new("share", data.share, "more than 0, at most 1").into());
    }
    if !(0.0..=1.0).contains(&data.bad_share) {
        return Err(ConfigError::new("bad_share", data.bad_share, "between 0 and 1").into());
    }
    if !(data.shortest >= 0.0 && data.longest > data.shortest) {
        return Err(ConfigError::new("longest", data.longest, "more than `shortest`").into());
    }
    let pool = Pool::open(&data.sources, rate, seed)?;
    let mut order: Vec<usize> = (0..pool.len()).collect();
    order.shuffle(&mut seed.part("choice").rng());
    let count = ((pool.len() as f64 * data.share).round() as usize).max(1);
    if let Some(most) = data.per_transcript {
        let texts = pool.texts();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        order.retain(|at| {
            let Some(text) = &texts[*at] else { return false };
            let times = seen.entry(data.transcripts.normalisation.apply(text)).or_default();
            *times += 1;
            *times <= most
        });
    }
    order.truncate(count);
    Ok(pool.choose(&order))
}

/// Opens the data of a stage for models of this configuration.
///
/// `start` is the vocabulary of the model that the stage starts from: its tokens keep their ids.
/// With `transcribe`, recordings without a transcript are left out. `taught` are trained on as well,
/// as they are.
///
/// # Errors
/// When it cannot be read, or nothing is left.
pub fn open(
    data: &SpeechData,
    config: &SpeechModelConfig,
    start: Option<&Vocabulary>,
    transcribe: bool,
    taught: Option<Pool>,
    seed: Seed,
) -> Result<StageData, StageDataError> {
    let mut pool = choose(data, config.audio.sample_rate, seed)?;
    let mut vocabulary = None;
    if transcribe {
        let recordings = pool.len();
        let texts = pool.texts();
        let spoken: Vec<usize> = (0..recordings).filter(|at| texts[*at].is_some()).collect();
        if spoken.is_empty() {
            return Err(StageDataError::NoTranscripts { recordings });
        }
        let texts: Vec<&str> = texts.iter().flatten().map(String::as_str).collect();
        vocabulary = Some(Arc::new(vocabulary_of(&data.transcripts, start, &texts)?));
        pool = pool.choose(&spoken);
    }
    let recordings = pool.len();
    let speaker_cmvn = SpeakerCmvn::measure(config, iter::once(&pool).chain(&taught))?;
    let (validation, mut train) = pool.split(data.validation);
    if let Some(taught) = taught {
        train = train.and(taught);
    }
    if train.is_empty() {
        return Err(StageDataError::Nothing { recordings, validation: data.validation });
    }
    let mut examples = Examples::new(data, config, vocabulary.clone(), seed);
    examples.speaker_cmvn = speaker_cmvn;
    examples.units = match config.token {
        Some(TokenHeadConfig::Units(count)) => {
            let stride = config.frontend.stem.stride();
            // The model's own spectrogram, where it takes one.
            let spectrogram = match &config.frontend.stem {
                StemConfig::LogMel(stem) => stem.spectrogram,
                StemConfig::Wave(_) => LogMelConfig::default(),
            };
            let spectrogram = LogMelConfig { hop: stride, ..spectrogram };
            let mel = LogMel::new(spectrogram, config.audio.sample_rate)?;
            let clusters =
                cluster(&train, &mel, &config.frontend.stem, &examples.speaker_cmvn, count, seed)?;
            Some(Arc::new((mel, clusters)))
        }
        _ => None,
    };
    Ok(StageData {
        train: Arc::new(Recordings::new(train, examples.clone(), data)?),
        validation: Recordings::plain(validation, examples),
        vocabulary,
    })
}

/// The vocabulary of transcripts, behind that of the model that training starts from.
///
/// # Errors
/// When it cannot be built.
pub fn vocabulary_of(
    transcripts: &Transcripts,
    start: Option<&Vocabulary>,
    texts: &[&str],
) -> Result<Vocabulary, SpeechError> {
    let texts: Vec<String> =
        texts.iter().map(|text| transcripts.normalisation.apply(text)).collect();
    let texts = texts.iter().map(String::as_str);
    let build = |texts: &mut dyn Iterator<Item = &str>| {
        Vocabulary::build(&transcripts.units, Specials::default(), texts.collect::<Vec<_>>())
    };
    match start {
        None => build(&mut texts.into_iter()),
        Some(start) => {
            // A vocabulary that can write everything already is left as it is.
            let mut unknown =
                texts.filter(|text| !start.encode(text).unknown.is_empty()).peekable();
            if unknown.peek().is_none() {
                return Ok(start.clone());
            }
            start.union([&build(&mut unknown)?])
        }
    }
}

/// Units of speech, by the spectrograms of some recordings.
fn cluster(
    pool: &Pool,
    mel: &LogMel,
    stem: &StemConfig,
    speaker_cmvn: &SpeakerCmvn,
    count: usize,
    seed: Seed,
) -> Result<KMeans, StageDataError> {
    let clips = (0..pool.len()).filter_map(|at| pool.clip(at).ok()).take(CLUSTERED);
    let frames: Vec<Array2<f32>> =
        clips.map(|clip| frame_spectrogram(mel, stem, speaker_cmvn.clip(&clip))).collect();
    let views: Vec<_> = frames.iter().map(|frames| frames.view()).collect();
    let all = concatenate(Axis(0), &views).unwrap_or_default();
    Ok(KMeans::fit(all.view(), count, ROUNDS, &mut seed.part("units").rng())?)
}

/// Puts recordings together as a model takes them; nothing of none.
///
/// # Errors
/// When they do not fit the model.
pub fn collate<'a>(
    collator: &Collator,
    items: impl IntoIterator<Item = &'a Item>,
) -> Result<Option<crate::SpeechHostBatch>, crate::BatchError> {
    let clips: Vec<_> = items.into_iter().map(Item::clip).collect();
    if clips.is_empty() {
        return Ok(None);
    }
    collator.collate(&clips).map(Some)
}
