//! CMVN statistics by speaker.

use super::pool::Pool;
use crate::{
    SpeechModelConfig, batch,
    cmvn::{AugmentContext, CmvnStats},
    cmvn_accumulator::CmvnAccumulator,
};
use kiln_datasets::audio::Clip;
use kiln_nn::ConfigError;
use rayon::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

/// CMVN statistics of speakers; of none where the model does not ask for them.
#[derive(Clone, Debug, Default)]
pub struct SpeakerCmvn {
    by_speaker: Arc<BTreeMap<String, Arc<CmvnStats>>>,
}

impl SpeakerCmvn {
    /// Those of the speakers of these recordings, for models of this configuration. Recordings that
    /// cannot be decoded are passed over.
    ///
    /// # Errors
    /// When the settings of the spectrogram make no sense.
    pub fn measure<'a>(
        config: &SpeechModelConfig,
        pools: impl IntoIterator<Item = &'a Pool>,
    ) -> Result<Self, ConfigError> {
        let Some(accumulator) = CmvnAccumulator::new(config)? else { return Ok(Self::default()) };
        let mut recordings: BTreeMap<&str, Vec<(&Pool, usize)>> = BTreeMap::new();
        for pool in pools {
            for (at, speaker) in pool.speakers().enumerate() {
                if let Some(speaker) = speaker {
                    recordings.entry(speaker).or_default().push((pool, at));
                }
            }
        }
        let measured = |(speaker, recordings): (&str, Vec<(&Pool, usize)>)| {
            let mut accumulator = accumulator.empty();
            for (pool, at) in recordings {
                if accumulator.is_full() {
                    break;
                }
                if let Ok(clip) = pool.clip(at) {
                    accumulator.add(&clip.waveform.samples);
                }
            }
            Some((speaker.to_owned(), Arc::new(accumulator.stats()?)))
        };
        let by_speaker: BTreeMap<_, _> = recordings.into_par_iter().filter_map(measured).collect();
        Ok(Self { by_speaker: Arc::new(by_speaker) })
    }

    /// The statistics of a speaker.
    pub fn of(&self, speaker: Option<&str>) -> Option<&Arc<CmvnStats>> {
        self.by_speaker.get(speaker?)
    }

    /// The input of a model that is not in training.
    pub fn clip<'a>(&'a self, clip: &'a Clip) -> batch::Clip<'a> {
        let cmvn = self.of(clip.speaker.as_deref()).map(Arc::as_ref);
        let augment = AugmentContext { cmvn, spec_augment: None };
        batch::Clip { augment, ..batch::Clip::of(&clip.waveform.samples) }
    }
}
