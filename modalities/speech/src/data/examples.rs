//! Recordings as a trainer takes them: in epochs, augmented, with labels.

use super::{error::StageDataError, pool::Pool, speaker_cmvn::SpeakerCmvn};
use crate::{
    SpeechModelConfig, batch,
    cluster::KMeans,
    cmvn::{AugmentContext, CmvnStats},
    decode::repeats,
    log_mel::LogMel,
    recipe::SpeechData,
    spec_augment::{SpecAugment, SpecAugmentConfig},
    vocabulary::Vocabulary,
};
use kiln_core::{Rng, Seed, Size, Source};
use kiln_datasets::{
    DataError,
    audio::{Augmenter, Bucketing, Waveform},
};
use kiln_metrics::error_rate::Normalisation;
use kiln_train::task::{TaskError, TaskSourceError};
use rand::{RngExt as _, seq::SliceRandom as _};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Recordings whose speech babble is mixed from.
const VOICES: usize = 8;
/// Bad recordings that are told of one by one.
const TOLD: usize = 10;

/// A recording, ready to be put into a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Item {
    /// At the model's rate.
    pub wave: Vec<f32>,
    /// The transcript as the vocabulary's ids.
    pub labels: Option<Vec<u32>>,
    /// The unit of each frame.
    pub units: Option<Vec<u32>>,
    /// The transcript, normalised.
    pub text: Option<String>,
    /// The augmentation of its spectrogram.
    pub spec_augment: Option<SpecAugment>,
    /// CMVN statistics of its speaker.
    pub cmvn: Option<Arc<CmvnStats>>,
}

impl Item {
    pub(super) fn clip(&self) -> batch::Clip<'_> {
        batch::Clip {
            wave: &self.wave,
            labels: self.labels.as_deref(),
            units: self.units.as_deref(),
            augment: AugmentContext {
                spec_augment: self.spec_augment.as_ref(),
                cmvn: self.cmvn.as_deref(),
            },
        }
    }
}

/// What becomes of a recording on its way to the model.
#[derive(Clone)]
pub struct Examples {
    config: SpeechModelConfig,
    vocabulary: Option<Arc<Vocabulary>>,
    normalisation: Normalisation,
    augmenter: Option<Arc<Augmenter>>,
    spec_augment: Option<SpecAugmentConfig>,
    pub(super) speaker_cmvn: SpeakerCmvn,
    pub(super) units: Option<Arc<(LogMel, KMeans)>>,
    /// Shortest and longest, s.
    seconds: [f64; 2],
    seed: Seed,
}

impl Examples {
    /// For models of this configuration, without augmentation and units.
    pub fn new(
        data: &SpeechData,
        config: &SpeechModelConfig,
        vocabulary: Option<Arc<Vocabulary>>,
        seed: Seed,
    ) -> Self {
        Self {
            config: config.clone(),
            vocabulary,
            normalisation: data.transcripts.normalisation.clone(),
            augmenter: None,
            spec_augment: None,
            speaker_cmvn: SpeakerCmvn::default(),
            units: None,
            seconds: [data.shortest, data.longest],
            seed,
        }
    }

    /// Prepares a recording.
    ///
    /// # Errors
    /// When it cannot be used; the text says why.
    fn prepare(&self, pool: &Pool, at: usize, rng: &mut Rng) -> Result<Item, String> {
        let clip = pool.clip(at).map_err(|error| error.to_string())?;
        let named = |problem: String| format!("{}: {problem}", clip.id);
        let mut waveform = clip.waveform.clone();
        if let Some(augmenter) = &self.augmenter {
            waveform = augmenter.apply(waveform, rng).map_err(|error| named(error.to_string()))?;
        }
        let Waveform { mut samples, rate } = waveform;
        let [shortest, longest] = self.seconds.map(|s| (s * f64::from(rate)).round() as usize);
        if samples.len() < shortest.max(1) {
            return Err(named(format!("it lasts {} samples, less than `shortest`", samples.len())));
        }
        if samples.len() > longest {
            if self.vocabulary.is_some() {
                let seconds = samples.len() as f64 / f64::from(rate);
                return Err(named(format!("it lasts {seconds:.1} s, more than `longest`")));
            }
            let start = rng.random_range(0..=samples.len() - longest);
            samples = samples[start..start + longest].to_vec();
        }
        let spec_augment = self.spec_augment.map(|config| config.draw(rng));
        let cmvn = self.speaker_cmvn.of(clip.speaker.as_deref()).cloned();
        let mut item = Item { wave: samples, spec_augment, cmvn, ..Item::default() };
        item.text = clip.text.as_deref().map(|text| self.normalisation.apply(text));
        if let (Some(vocabulary), Some(text)) = (&self.vocabulary, &item.text) {
            let ids = vocabulary.encode_known(&clip.id, text).map_err(|e| e.to_string())?;
            let (needed, frames) = (ids.len() + repeats(&ids), self.config.frames(item.wave.len()));
            if frames < needed {
                let problem = format!("{needed} frames are needed for `{text}`, it has {frames}");
                return Err(named(problem));
            }
            item.labels = Some(ids);
        }
        if let Some(units) = &self.units {
            let (mel, clusters) = &**units;
            let augment = AugmentContext { cmvn: item.cmvn.as_deref(), spec_augment: None };
            let clip = batch::Clip { augment, ..batch::Clip::of(&item.wave) };
            let frames = batch::frame_spectrogram(mel, &self.config.frontend.stem, clip);
            item.units = Some(clusters.units(frames.view()));
        }
        Ok(item)
    }
}

/// Recordings that could not be used.
#[derive(Debug, Default)]
pub struct Bad {
    seen: Mutex<BTreeMap<usize, String>>,
}

impl Bad {
    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.seen().len()
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes one; an error when there are more than `most` now.
    fn add(&self, at: usize, problem: String, of: usize, most: usize) -> Result<(), TaskError> {
        let mut seen = self.seen();
        if !seen.contains_key(&at) {
            if seen.len() < TOLD {
                tracing::warn!("passed over: {problem}");
            } else if seen.len() == TOLD {
                tracing::warn!("more recordings are passed over and not told of one by one");
            }
            seen.insert(at, problem);
        }
        if seen.len() <= most {
            return Ok(());
        }
        let first = seen.values().next().cloned().unwrap_or_default();
        Err(StageDataError::TooManyBad { bad: seen.len(), of, first }.into())
    }
}

/// Recordings in epochs; each example is one, or a bucket of several.
pub struct Recordings {
    pool: Pool,
    examples: Examples,
    durations: Vec<f64>,
    buckets: Option<Bucketing>,
    orders: Mutex<Orders>,
    bad: Bad,
    most_bad: usize,
}

/// The order of the latest epoch, and where epochs begin.
#[derive(Default)]
struct Orders {
    /// The first example of each epoch.
    starts: Vec<u64>,
    latest: Option<(usize, Arc<Vec<Vec<u64>>>)>,
}

impl Recordings {
    pub(super) fn new(
        pool: Pool,
        mut examples: Examples,
        data: &SpeechData,
    ) -> Result<Self, DataError> {
        let voices = if data.augmentation.needs_voices() {
            let clips = (0..pool.len()).filter_map(|at| pool.clip(at).ok());
            clips.take(VOICES).map(|clip| clip.waveform.clone()).collect()
        } else {
            Vec::new()
        };
        examples.spec_augment = data.spec_augment.filter(SpecAugmentConfig::is_used);
        examples.augmenter = Some(Arc::new(data.augmentation.load(pool.rate(), voices)?));
        let mut durations = Vec::new();
        if let Some(buckets) = &data.buckets {
            buckets.validate()?;
            durations = pool.durations();
        }
        let most_bad = (data.bad_share * pool.len() as f64).floor() as usize;
        Ok(Self { durations, buckets: data.buckets, most_bad, ..Self::plain(pool, examples) })
    }

    /// Recordings as they are; those that cannot be used are passed over, however many they are.
    pub(super) fn plain(pool: Pool, examples: Examples) -> Self {
        Self {
            most_bad: pool.len(),
            pool,
            examples,
            durations: Vec::new(),
            buckets: None,
            orders: Mutex::default(),
            bad: Bad::default(),
        }
    }

    /// How many recordings there are.
    pub fn len(&self) -> usize {
        self.pool.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pool.is_empty()
    }

    /// Those that could not be used.
    pub fn bad(&self) -> &Bad {
        &self.bad
    }

    /// Each recording that can be used, once, as it is.
    pub fn all(&self) -> impl Iterator<Item = Item> + '_ {
        (0..self.len()).filter_map(|at| {
            self.examples.prepare(&self.pool, at, &mut self.examples.seed.rng()).ok()
        })
    }

    /// The recordings of an example, and the number of its epoch.
    fn order(&self, index: u64) -> (usize, Vec<u64>) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.starts.is_empty() {
            orders.starts.push(0);
        }
        loop {
            let epoch = orders.starts.partition_point(|start| *start <= index) - 1;
            let batches = match &orders.latest {
                Some((latest, batches)) if *latest == epoch => batches.clone(),
                _ => Arc::new(self.epoch(epoch as u64)),
            };
            orders.latest = Some((epoch, batches.clone()));
            let start = orders.starts[epoch];
            if let Some(batch) = batches.get((index - start) as usize) {
                return (epoch, batch.clone());
            }
            // Buckets differ from epoch to epoch in number.
            orders.starts.push(start + batches.len() as u64);
        }
    }

    fn epoch(&self, epoch: u64) -> Vec<Vec<u64>> {
        let seed = self.examples.seed.part("epochs");
        if let Some(buckets) = &self.buckets {
            return buckets.batches(&self.durations, seed, epoch);
        }
        let mut order: Vec<u64> = (0..self.pool.len() as u64).collect();
        order.shuffle(&mut seed.at(epoch).rng());
        order.into_iter().map(|at| vec![at]).collect()
    }

    /// A recording, or the next one that can be used in its place.
    fn usable(&self, at: usize, rng: &mut Rng) -> Result<Item, TaskError> {
        let count = self.pool.len();
        for other in 0..count {
            let at = (at + other) % count;
            match self.examples.prepare(&self.pool, at, rng) {
                Ok(item) => return Ok(item),
                Err(problem) => self.bad.add(at, problem, count, self.most_bad)?,
            }
        }
        Err("none of the recordings can be used".into())
    }
}

impl Source for Recordings {
    type Example = Vec<Item>;
    type Error = TaskSourceError;

    fn size(&self) -> Size {
        Size::Endless
    }

    fn example(&self, index: u64) -> Result<Vec<Item>, TaskSourceError> {
        let (epoch, batch) = self.order(index);
        let seed = self.examples.seed.part("augment").at(epoch as u64);
        let items = batch.into_iter().map(|at| self.usable(at as usize, &mut seed.at(at).rng()));
        Ok(items.collect::<Result<_, TaskError>>()?)
    }
}
