//! Recordings of any length to transcripts.
//!
//! A long recording is cut at its pauses, and where there are none at its quietest moments; there
//! the two pieces overlap, so that a word at the border is whole in one of them. Only a few pieces
//! are in memory at a time.

use crate::{
    batch::Clip,
    cmvn::{AugmentContext, CmvnStats},
    cmvn_accumulator::{CMVN_SECONDS, CmvnAccumulator},
    decode::{Decoded, Decoder, FrameTimes, greedy},
    recogniser::Recogniser,
    transcript::{Transcript, Word},
};
use kiln_core::blame::{Blame, Blamed};
use kiln_datasets::{
    DataError,
    audio::{AudioReader, Segment, Segmentation, Spans, Waveform},
};
use kiln_train::task::TaskError;
use rayon::prelude::*;
use std::path::Path;

/// Sound that is recognised at once, s.
const TOGETHER: f64 = 60.0;

/// What transcribes.
pub struct Transcriber {
    /// The model.
    pub recogniser: Recogniser,
    /// Searches for the best words; the best token of each frame is taken without.
    pub decoder: Option<Decoder>,
    /// How long recordings are cut.
    pub segmentation: Segmentation,
    /// Whether other readings are given, of recordings that are not cut.
    pub alternatives: bool,
    /// CMVN statistics of the speaker of all recordings, for models that ask for them; otherwise each
    /// recording has its own. See [`Transcriber::measure_speaker`].
    pub cmvn: Option<CmvnStats>,
}

/// Why a recording has no transcript.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranscribeError {
    /// It cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model could not be run.
    #[error(transparent)]
    Model(#[from] TaskError),
}

impl Blamed for TranscribeError {
    fn blame(&self) -> Blame<'_> {
        match self {
            Self::Data(_) => Blame::User,
            Self::Model(error) => Blame::Inner(error.as_ref()),
        }
    }
}

/// A recording's transcript.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcribed {
    /// The transcript.
    pub transcript: Transcript,
    /// How long the recording is, s.
    pub seconds: f64,
}

impl Transcriber {
    /// Measures the CMVN statistics of recordings of one speaker, where the model asks for them.
    /// Recordings that cannot be read are passed over: they are reported when they are transcribed.
    ///
    /// # Errors
    /// When the model's settings make no sense.
    pub fn measure_speaker<'a>(
        &mut self,
        paths: impl IntoIterator<Item = &'a Path>,
    ) -> Result<(), TaskError> {
        if let Some(mut accumulator) = CmvnAccumulator::new(&self.recogniser.config)? {
            for path in paths {
                if accumulator.is_full() {
                    break;
                }
                if let Ok(wave) = self.open(path).and_then(start) {
                    accumulator.add(&wave.samples);
                }
            }
            self.cmvn = accumulator.stats();
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> Result<AudioReader, DataError> {
        let rate = u32::try_from(self.recogniser.config.audio.sample_rate).unwrap_or(u32::MAX);
        AudioReader::open(path)?.at_rate(rate)
    }

    /// The CMVN statistics of a long recording, the same for all of its segments.
    fn cmvn_of(&self, path: &Path) -> Result<Option<CmvnStats>, TranscribeError> {
        if self.cmvn.is_some() {
            return Ok(self.cmvn.clone());
        }
        let accumulator = CmvnAccumulator::new(&self.recogniser.config).map_err(TaskError::from)?;
        let Some(mut accumulator) = accumulator else { return Ok(None) };
        accumulator.add(&start(self.open(path)?)?.samples);
        Ok(accumulator.stats())
    }

    /// Transcribes a file. `progress` is told how many seconds are done, and of how many where that is
    /// known.
    ///
    /// # Errors
    /// When it cannot be read or the model fails.
    pub fn file(
        &self,
        path: &Path,
        mut progress: impl FnMut(f64, Option<f64>),
    ) -> Result<Transcribed, TranscribeError> {
        let reader = self.open(path)?;
        let length = reader.info().duration;
        // What is short needs no cuts: models are trained on whole utterances.
        if length.is_some_and(|length| length <= self.segmentation.max_length) {
            let waveform = reader.rest()?;
            let seconds = waveform.seconds();
            let whole = Segment { start: 0.0, end: seconds, overlap: 0.0 };
            let decoded = self.decode(&[(whole, waveform)], self.cmvn.as_ref())?.pop();
            progress(seconds, length);
            let transcript = decoded.map(|one| one.transcript(self.alternatives));
            return Ok(Transcribed { transcript: transcript.unwrap_or_default(), seconds });
        }
        let segments = self.segmentation.segments(reader)?;
        let cmvn = self.cmvn_of(path)?;
        let mut transcript = Transcript::default();
        let mut seconds = length.unwrap_or(0.0);
        let mut batch: Vec<(Segment, Waveform)> = Vec::new();
        let mut held = 0.0;
        for span in Spans::new(self.open(path)?, segments) {
            let (segment, waveform) = span?;
            seconds = seconds.max(segment.end);
            held += waveform.seconds();
            batch.push((segment, waveform));
            if held >= TOGETHER {
                self.append(&mut transcript, &batch, cmvn.as_ref())?;
                progress(segment.end, length);
                batch.clear();
                held = 0.0;
            }
        }
        self.append(&mut transcript, &batch, cmvn.as_ref())?;
        progress(seconds, length);
        Ok(Transcribed { transcript, seconds })
    }

    fn append(
        &self,
        transcript: &mut Transcript,
        spans: &[(Segment, Waveform)],
        cmvn: Option<&CmvnStats>,
    ) -> Result<(), TranscribeError> {
        for ((segment, _), decoded) in spans.iter().zip(self.decode(spans, cmvn)?) {
            join(&mut transcript.words, decoded.words, segment);
        }
        Ok(())
    }

    /// What is said in each piece, times counted from the start of the recording.
    fn decode(
        &self,
        spans: &[(Segment, Waveform)],
        cmvn: Option<&CmvnStats>,
    ) -> Result<Vec<Decoded>, TranscribeError> {
        let augment = AugmentContext { cmvn, spec_augment: None };
        let clips: Vec<_> =
            spans.iter().map(|(_, wave)| Clip { augment, ..Clip::of(&wave.samples) }).collect();
        let log_probs = self.recogniser.log_probs(&clips, |_| {})?;
        let stride = self.recogniser.stride();
        let decoded = spans.par_iter().zip(&log_probs).map(|((segment, _), log_probs)| {
            let times = FrameTimes { start: segment.start, stride };
            let decoded = match &self.decoder {
                Some(decoder) => decoder.decode(log_probs.view(), times),
                None => greedy(&self.recogniser.vocabulary, log_probs.view(), times),
            };
            decoded.map_err(TaskError::from)
        });
        Ok(decoded.collect::<Result<_, TaskError>>()?)
    }
}

/// The part of a recording that CMVN statistics are measured over.
fn start(reader: AudioReader) -> Result<Waveform, DataError> {
    reader.between(0.0, Some(CMVN_SECONDS))?.rest()
}

/// Appends the words of a segment. In the overlap with the segment before, words of the first half
/// are taken from that one: each segment lacks context at its own edge.
fn join(words: &mut Vec<Word>, later: Vec<Word>, segment: &Segment) {
    let border = segment.start + segment.overlap / 2.0;
    let middle = |word: &Word| (word.start + word.end) / 2.0;
    if segment.overlap > 0.0 {
        while words.last().is_some_and(|word| middle(word) >= border) {
            words.pop();
        }
    }
    let after = words.last().map_or(f64::MIN, |word| word.start);
    let new = later.into_iter().filter(|word| segment.overlap == 0.0 || middle(word) >= border);
    // Rounded times of neighbours may cross by a frame.
    words.extend(new.map(|word| Word { start: word.start.max(after), ..word }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str, start: f64) -> Word {
        Word { text: text.into(), start, end: start + 0.4, confidence: 1.0 }
    }

    #[test]
    fn words_at_a_border_are_there_once() {
        let mut words = vec![word("one", 8.0), word("two", 9.1), word("thr", 9.7)];
        let later = vec![word("wo", 9.0), word("three", 9.7), word("four", 10.5)];
        join(&mut words, later, &Segment { start: 9.0, end: 12.0, overlap: 1.0 });
        let texts: Vec<&str> = words.iter().map(|word| &word.text[..]).collect();
        assert_eq!(texts, ["one", "two", "three", "four"]);
        // Behind a pause nothing is shared and nothing is lost.
        join(
            &mut words,
            vec![word("five", 13.0)],
            &Segment { start: 13.0, end: 14.0, overlap: 0.0 },
        );
        assert_eq!(words.len(), 5);
    }
}
