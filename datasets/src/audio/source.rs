//! Utterances of a manifest, decoded by index.

use super::{AudioReader, Location, Utterance, Waveform, stream};
use crate::{DataError, Result, files::unreadable};
use kiln_host::{Size, Source};
use rayon::prelude::*;
use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
};

/// Audio clip: an utterance with its waveform.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// Mono, at the source's rate.
    pub waveform: Waveform,
    /// Transcript, where known.
    pub text: Option<String>,
    /// Who speaks, where known.
    pub speaker: Option<String>,
    /// A name that tells it from the others.
    pub id: String,
}

/// Utterances of a manifest. One that cannot be decoded is an error of its index alone.
#[derive(Clone, Debug)]
pub struct AudioSource {
    utterances: Vec<Utterance>,
    rate: u32,
}

impl AudioSource {
    /// These utterances, at `rate` Hz.
    pub fn new(utterances: Vec<Utterance>, rate: u32) -> Self {
        Self { utterances, rate }
    }

    /// What it reads.
    pub fn utterances(&self) -> &[Utterance] {
        &self.utterances
    }

    /// Sampling rate of its clips, Hz.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// How long each utterance lasts, s: as the manifest says, otherwise as its file's header does,
    /// otherwise by decoding it. On all threads.
    pub fn durations(&self) -> Vec<Result<f64>> {
        self.utterances.par_iter().map(duration).collect()
    }
}

impl Source for AudioSource {
    type Example = Clip;
    type Error = DataError;

    fn size(&self) -> Size {
        Size::Known(self.utterances.len() as u64)
    }

    fn example(&self, index: u64) -> Result<Clip> {
        let utterance = usize::try_from(index).ok().and_then(|index| self.utterances.get(index));
        let utterance = utterance.ok_or_else(|| {
            DataError::config("index", index, format!("below {}", self.utterances.len()))
        })?;
        Ok(Clip {
            waveform: open(utterance)?.at_rate(self.rate)?.rest()?,
            text: utterance.text.clone(),
            speaker: utterance.speaker.clone(),
            id: utterance.id.clone(),
        })
    }
}

/// A reader of an utterance's part of its recording.
fn open(utterance: &Utterance) -> Result<AudioReader> {
    let reader = match &utterance.audio {
        Location::File(path) => AudioReader::open(path)?,
        Location::Member { shard, name, offset, size } => {
            let failed = |source| unreadable(shard, source);
            let mut file = File::open(shard).map_err(failed)?;
            file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
            let mut bytes = Vec::new();
            // Read, not set aside: a header may promise any size.
            file.take(*size).read_to_end(&mut bytes).map_err(failed)?;
            stream::AudioReader::from_bytes(&shard.join(name), bytes)?
        }
    };
    match (utterance.start, utterance.end) {
        (None, None) => Ok(reader),
        (start, end) => reader.between(start.unwrap_or(0.0), end),
    }
}

fn duration(utterance: &Utterance) -> Result<f64> {
    if let Some(duration) = utterance.duration {
        return Ok(duration);
    }
    if let (start, Some(end)) = (utterance.start, utterance.end) {
        return Ok(end - start.unwrap_or(0.0));
    }
    let reader = open(utterance)?;
    match reader.info().duration {
        Some(duration) => Ok(duration - utterance.start.unwrap_or(0.0)),
        None => {
            let rate = f64::from(reader.rate());
            reader.map(|chunk| Ok(chunk?.samples.len() as f64 / rate)).sum()
        }
    }
}
