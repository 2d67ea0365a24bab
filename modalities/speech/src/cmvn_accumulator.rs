//! Accumulates the [`CmvnStats`] of a speaker over up to a minute of recordings.

use crate::{
    SpeechModelConfig,
    cmvn::{CmvnStats, Standardise},
    frontend::StemConfig,
    log_mel::LogMel,
};
use kiln_nn::ConfigError;
use ndarray::Array2;

/// The recordings of each speaker that statistics are measured over, s.
pub const CMVN_SECONDS: f64 = 60.0;

/// Accumulates CMVN statistics of one speaker, for models that ask for them.
pub struct CmvnAccumulator {
    mel: LogMel,
    rate: f64,
    seconds: f64,
    spectrograms: Vec<Array2<f32>>,
}

impl CmvnAccumulator {
    /// For models of this configuration; `None` for those without CMVN by speaker.
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
        Ok(Some(Self { mel, rate, seconds: 0.0, spectrograms: Vec::new() }))
    }

    /// Adds a wave at the model's rate.
    pub fn add(&mut self, wave: &[f32]) {
        self.seconds += wave.len() as f64 / self.rate;
        self.spectrograms.push(self.mel.plain(wave));
    }

    /// Whether [`CMVN_SECONDS`] were added.
    pub fn is_full(&self) -> bool {
        self.seconds >= CMVN_SECONDS
    }

    /// The statistics of what was added; `None` of nothing.
    pub fn stats(&self) -> Option<CmvnStats> {
        CmvnStats::of(&self.spectrograms)
    }

    /// An empty one, for another speaker.
    pub fn empty(&self) -> Self {
        Self { mel: self.mel.clone(), rate: self.rate, seconds: 0.0, spectrograms: Vec::new() }
    }
}
