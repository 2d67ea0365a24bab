//! Speaker statistics for cepstral mean normalisation (Atal, 1974): the [`CmvnStats`] of each speaker,
//! measured over up to a minute of recordings.

use crate::{
    SpeechModelConfig,
    frontend::StemConfig,
    level::{CmvnStats, Standardise},
    log_mel::LogMel,
};
use kiln_nn::ConfigError;
use ndarray::Array2;

/// How much of each speaker is listened to, s.
pub const CMVN_SECONDS: f64 = 60.0;

/// Measures what is the same in all that one speaker says, for models that ask for it.
pub struct CmvnAccumulator {
    mel: LogMel,
    rate: f64,
    seconds: f64,
    heard: Vec<Array2<f32>>,
}

impl CmvnAccumulator {
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

    /// Listens to a wave at the model's rate.
    pub fn hear(&mut self, wave: &[f32]) {
        self.seconds += wave.len() as f64 / self.rate;
        self.heard.push(self.mel.plain(wave));
    }

    /// Whether it has heard enough.
    pub fn is_full(&self) -> bool {
        self.seconds >= CMVN_SECONDS
    }

    /// What was the same in all of it; nothing where nothing was heard.
    pub fn level(&self) -> Option<CmvnStats> {
        CmvnStats::of(&self.heard)
    }

    /// One for another speaker.
    pub fn another(&self) -> Self {
        Self { mel: self.mel.clone(), rate: self.rate, seconds: 0.0, heard: Vec::new() }
    }
}
