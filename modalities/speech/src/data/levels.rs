//! What is the same in all that a speaker says, by speaker.

use super::Pool;
use crate::{
    SpeechModelConfig, batch,
    frontend::StemConfig,
    log_mel::{Hearing, Level, LogMel, Standardise},
};
use kiln_datasets::audio::Clip;
use kiln_nn::ConfigError;
use ndarray::Array2;
use rayon::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

/// How much of each speaker is listened to, s.
pub const LEVEL_SECONDS: f64 = 60.0;

/// Measures what is the same in all that one speaker says, for models that ask for it.
pub struct LevelMeter {
    mel: LogMel,
    rate: f64,
    seconds: f64,
    heard: Vec<Array2<f32>>,
}

impl LevelMeter {
    /// For models of this configuration; none for those that do not ask for levels.
    ///
    /// # Errors
    /// When the settings of the spectrogram make no sense.
    pub fn new(config: &SpeechModelConfig) -> Result<Option<Self>, ConfigError> {
        let StemConfig::LogMel(stem) = &config.frontend.stem else { return Ok(None) };
        if stem.spectrogram.standardise != Some(Standardise::Speaker) {
            return Ok(None);
        }
        let mel = LogMel::new(stem.spectrogram, config.audio.sample_rate)?;
        let rate = config.audio.sample_rate as f64;
        Ok(Some(Self { mel, rate, seconds: 0.0, heard: Vec::new() }))
    }

    /// Listens to a wave at the model's rate, unless it has heard enough.
    pub fn hear(&mut self, wave: &[f32]) {
        if !self.is_full() {
            self.seconds += wave.len() as f64 / self.rate;
            self.heard.push(self.mel.plain(wave));
        }
    }

    /// Whether it has heard enough.
    pub fn is_full(&self) -> bool {
        self.seconds >= LEVEL_SECONDS
    }

    /// What was the same in all of it; nothing where nothing was heard.
    pub fn level(&self) -> Option<Level> {
        Level::of(&self.heard)
    }

    fn another(&self) -> Self {
        Self { mel: self.mel.clone(), rate: self.rate, seconds: 0.0, heard: Vec::new() }
    }
}

/// The levels of speakers; of none where the model does not ask for them.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    by_speaker: Arc<BTreeMap<String, Arc<Level>>>,
}

impl Levels {
    /// Of the speakers of these recordings, for models of this configuration. Recordings that
    /// cannot be decoded are passed over.
    ///
    /// # Errors
    /// When the settings of the spectrogram make no sense.
    pub fn measure(
        config: &SpeechModelConfig,
        pools: &[Option<&Pool>],
    ) -> Result<Self, ConfigError> {
        let Some(meter) = LevelMeter::new(config)? else { return Ok(Self::default()) };
        let mut recordings: BTreeMap<&str, Vec<(&Pool, usize)>> = BTreeMap::new();
        for pool in pools.iter().flatten() {
            for (at, speaker) in pool.speakers().enumerate() {
                if let Some(speaker) = speaker {
                    recordings.entry(speaker).or_default().push((pool, at));
                }
            }
        }
        let level = |(speaker, recordings): (&str, Vec<(&Pool, usize)>)| {
            let mut meter = meter.another();
            for (pool, at) in recordings {
                if meter.is_full() {
                    break;
                }
                if let Ok(clip) = pool.clip(at) {
                    meter.hear(&clip.waveform.samples);
                }
            }
            Some((speaker.to_owned(), Arc::new(meter.level()?)))
        };
        let by_speaker: BTreeMap<_, _> = recordings.into_par_iter().filter_map(level).collect();
        Ok(Self { by_speaker: Arc::new(by_speaker) })
    }

    /// That of a speaker.
    pub fn of(&self, speaker: Option<&str>) -> Option<Arc<Level>> {
        self.by_speaker.get(speaker?).cloned()
    }

    /// A recording as a model hears it that is not in training.
    pub fn clip<'a>(&'a self, clip: &'a Clip) -> batch::Clip<'a> {
        let level = clip.speaker.as_ref().and_then(|speaker| self.by_speaker.get(speaker));
        let hearing = Hearing { level: level.map(Arc::as_ref), distortion: None };
        batch::Clip { hearing, ..batch::Clip::of(&clip.waveform.samples) }
    }
}
