//! Recordings of several sources as one list, kept in memory once they were decoded.

use crate::recipe::SpeechSource;
use kiln_core::{Seed, Size, Source};
use kiln_datasets::{
    DataError,
    audio::{AudioSource, Clip},
};
use rayon::prelude::*;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

/// Samples that are kept, of all recordings together: 1 GiB.
const KEPT: usize = 1 << 28;

/// A source of recordings of any kind.
type ClipSource = Arc<dyn Source<Example = Clip, Error = DataError>>;

/// Recordings of several sources.
pub struct Pool {
    entries: Vec<Entry>,
    rate: u32,
    kept: AtomicUsize,
}

struct Entry {
    source: ClipSource,
    index: u64,
    /// What a manifest, or a model, says of it.
    text: Option<String>,
    duration: Option<f64>,
    speaker: Option<String>,
    clip: OnceLock<Arc<Clip>>,
}

impl Pool {
    /// Lists the recordings of these sources, at `rate` Hz. Nothing is decoded yet.
    ///
    /// # Errors
    /// When a manifest or generator makes no sense, or none is left.
    pub fn open(sources: &[SpeechSource], rate: usize, seed: Seed) -> Result<Self, DataError> {
        let rate = u32::try_from(rate).unwrap_or(u32::MAX);
        let mut entries = Vec::new();
        for source in sources {
            entries.extend(list(source, rate, seed)?);
        }
        if entries.is_empty() {
            return Err(DataError::config("sources", "none", "at least one recording"));
        }
        Ok(Self { entries, rate, kept: AtomicUsize::new(0) })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Their rate, Hz.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// A recording.
    ///
    /// # Errors
    /// When it cannot be decoded.
    pub fn clip(&self, at: usize) -> Result<Arc<Clip>, DataError> {
        let entry = self.entries.get(at).ok_or_else(|| {
            DataError::config("index", at, format!("below {}", self.entries.len()))
        })?;
        if let Some(clip) = entry.clip.get() {
            return Ok(clip.clone());
        }
        let mut clip = entry.source.example(entry.index)?;
        if entry.text.is_some() {
            clip.text.clone_from(&entry.text);
        }
        if clip.waveform.rate != self.rate {
            clip.waveform = clip.waveform.resampled(self.rate)?;
        }
        let clip = Arc::new(clip);
        let samples = clip.waveform.samples.len();
        if self.kept.fetch_add(samples, Ordering::Relaxed) + samples <= KEPT {
            // Another thread may have been first; both hold the same.
            let _ = entry.clip.set(clip.clone());
        } else {
            self.kept.fetch_sub(samples, Ordering::Relaxed);
        }
        Ok(clip)
    }

    /// What is said in each, decoding those whose manifest does not say. `None` for those without a
    /// transcript and for those that cannot be decoded.
    pub fn texts(&self) -> Vec<Option<String>> {
        let text = |at: usize| match &self.entries[at].text {
            Some(text) => Some(text.clone()),
            None => self.clip(at).ok().and_then(|clip| clip.text.clone()),
        };
        (0..self.len()).into_par_iter().map(text).collect()
    }

    /// Who speaks in each, as far as a manifest says.
    pub fn speakers(&self) -> impl Iterator<Item = Option<&str>> {
        self.entries.iter().map(|entry| entry.speaker.as_deref())
    }

    /// How long each lasts, s, decoding those whose manifest does not say; zero for those that
    /// cannot be decoded.
    pub fn durations(&self) -> Vec<f64> {
        let duration = |at: usize| match self.entries[at].duration {
            Some(duration) => duration,
            None => self.clip(at).map_or(0.0, |clip| clip.waveform.seconds()),
        };
        (0..self.len()).into_par_iter().map(duration).collect()
    }

    /// Those recordings for which there is a transcript, with that instead of their own.
    pub fn transcribed(mut self, texts: Vec<Option<String>>) -> Self {
        let entries = self.entries.into_iter().zip(texts);
        let entry = |(entry, text): (Entry, Option<String>)| {
            // What was decoded already holds what its file said.
            Some(Entry { text: Some(text?), clip: OnceLock::new(), ..entry })
        };
        self.entries = entries.filter_map(entry).collect();
        self
    }

    /// These recordings, and after them those of another pool of the same rate.
    pub fn and(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self
    }

    /// Only these recordings, in this order.
    pub fn choose(mut self, chosen: &[usize]) -> Self {
        let mut entries: Vec<_> = self.entries.into_iter().map(Some).collect();
        self.entries = chosen.iter().filter_map(|at| entries.get_mut(*at)?.take()).collect();
        self
    }

    /// The first `count` recordings, and the others.
    pub fn split(mut self, count: usize) -> (Self, Self) {
        let rest = self.entries.split_off(count.min(self.entries.len()));
        let rest = Self { entries: rest, rate: self.rate, kept: AtomicUsize::new(0) };
        (self, rest)
    }
}

fn list(source: &SpeechSource, rate: u32, seed: Seed) -> Result<Vec<Entry>, DataError> {
    let of = |source: ClipSource| match source.size() {
        Size::Known(count) => Ok((0..count).map(|index| entry(source.clone(), index)).collect()),
        Size::Endless => Err(DataError::config(
            "sources.spoken.size",
            "missing",
            "a number of utterances: they are gone through in epochs",
        )),
    };
    match source {
        SpeechSource::Spoken(spoken) => of(Arc::new(spoken.source(seed)?)),
        SpeechSource::Espeak(espeak) => of(Arc::new(espeak.source(seed)?)),
        SpeechSource::Manifest(manifest) => {
            let mut utterances = manifest.list.read()?;
            let named = |names: &[String], speaker: &Option<String>| {
                speaker.as_ref().is_some_and(|speaker| names.contains(speaker))
            };
            utterances.retain(|one| {
                (manifest.speakers.is_empty() || named(&manifest.speakers, &one.speaker))
                    && !named(&manifest.without, &one.speaker)
            });
            let all = Arc::new(AudioSource::new(utterances, rate));
            let utterances = all.utterances().iter().enumerate();
            Ok(utterances
                .map(|(index, utterance)| Entry {
                    text: utterance.text.clone(),
                    duration: utterance.duration,
                    speaker: utterance.speaker.clone(),
                    ..entry(all.clone(), index as u64)
                })
                .collect())
        }
    }
}

fn entry(source: ClipSource, index: u64) -> Entry {
    Entry { source, index, text: None, duration: None, speaker: None, clip: OnceLock::new() }
}
