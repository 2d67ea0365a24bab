//! A recording in chunks, mono and at the rate that is asked for.

use super::{AudioFault, AudioInfo, Waveform, decode::Decoder, resample::Resampler};
use crate::{DataError, Result};
use std::path::Path;

/// Samples that memory is set aside for on the word of a header: a minute at 16 kHz.
const BELIEVED: usize = 960_000;

/// Reads a whole file: mono, at `rate` Hz.
///
/// # Errors
/// As [`AudioReader`]; a file that ends early is an error, since its transcript is not all
/// there. The reader gives what there is.
pub fn read(path: &Path, rate: u32) -> Result<Waveform> {
    AudioReader::open(path)?.at_rate(rate)?.rest()
}

/// Reads a whole file that is in memory, such as a member of a shard; `name` is for messages, its
/// extension is a hint.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(name: &Path, bytes: Vec<u8>, rate: u32) -> Result<Waveform> {
    AudioReader::from_bytes(name, bytes)?.at_rate(rate)?.rest()
}

/// An iterator over the chunks of a recording. No more than a chunk and a packet is in memory.
///
/// All chunks but the last have the length that was asked for. After an error nothing follows.
/// A recording that ends before its header says gives all that it has, then
/// [`AudioFault::Truncated`].
pub struct AudioReader {
    decoder: Decoder,
    resampler: Option<Resampler>,
    rate: u32,
    /// Samples of a chunk.
    chunk: usize,
    packet: Vec<f32>,
    ready: Vec<f32>,
    /// Samples at the file's rate that are still wanted.
    wanted: Option<u64>,
    /// Whether any sample has come out.
    any: bool,
    /// An error that waits until all samples before it are out.
    late: Option<DataError>,
}

impl AudioReader {
    /// Opens a file, at its own rate and in chunks of 10 s. A relative path is looked for here,
    /// then in the folder that `KILN_DATA` names.
    ///
    /// # Errors
    /// When it is missing, empty, no recording, or in a codec that is not supported.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(Decoder::open(path)?)
    }

    /// Opens a file that is in memory.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self> {
        Self::new(Decoder::from_bytes(name, bytes)?)
    }

    fn new(decoder: Decoder) -> Result<Self> {
        let rate = decoder.info.rate;
        Ok(Self {
            decoder,
            resampler: Some(Resampler::new(rate, rate)?),
            rate,
            chunk: 10 * rate as usize,
            packet: Vec::new(),
            ready: Vec::new(),
            wanted: None,
            any: false,
            late: None,
        })
    }

    /// Resampled to `rate` Hz; chunks keep their length in seconds.
    ///
    /// # Errors
    /// When the rate is not one of [`AudioFault::RATES`].
    pub fn at_rate(mut self, rate: u32) -> Result<Self> {
        self.resampler = Some(Resampler::new(self.decoder.info.rate, rate)?);
        let seconds = self.chunk as f64 / f64::from(self.rate);
        self.rate = rate;
        Ok(self.in_chunks(seconds))
    }

    /// In chunks of `seconds`; at least one sample, at most an hour.
    pub fn in_chunks(mut self, seconds: f64) -> Self {
        self.chunk = ((seconds.clamp(0.0, 3600.0) * f64::from(self.rate)) as usize).max(1);
        self
    }

    /// Only from `start` to `end`, s; to its end without one.
    ///
    /// # Errors
    /// When they are not in order or lie outside.
    pub fn between(mut self, start: f64, end: Option<f64>) -> Result<Self> {
        let duration = self.decoder.info.duration;
        let last = end.unwrap_or(f64::INFINITY);
        let outside = duration.is_some_and(|duration| start >= duration);
        if !(start.is_finite() && start >= 0.0 && last > start) || outside {
            return Err(self.decoder.fail(AudioFault::Span { start, end: last, duration }));
        }
        if start > 0.0 {
            self.decoder.seek(start)?;
        }
        let rate = f64::from(self.decoder.info.rate);
        self.wanted = end.map(|end| ((end * rate).round() - (start * rate).round()) as u64);
        Ok(self)
    }

    /// What the recording is.
    pub fn info(&self) -> &AudioInfo {
        &self.decoder.info
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        self.decoder.path()
    }

    /// Sampling rate of the chunks, Hz.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// All that has not been read yet, in one piece.
    ///
    /// # Errors
    /// As the chunks.
    pub fn rest(mut self) -> Result<Waveform> {
        let seconds = self.decoder.info.duration.unwrap_or(0.0);
        let expected = (seconds * f64::from(self.rate)) as usize;
        let mut samples = Vec::with_capacity(expected.min(BELIEVED));
        for chunk in self.by_ref() {
            samples.append(&mut chunk?.samples);
        }
        Ok(Waveform::new(samples, self.rate))
    }

    /// Fills `ready` up to a chunk, or to the end.
    fn fill(&mut self) -> Result<()> {
        while self.ready.len() < self.chunk {
            let Some(resampler) = &mut self.resampler else { break };
            self.packet.clear();
            let more = if self.wanted == Some(0) {
                Ok(false)
            } else {
                self.decoder.next(&mut self.packet)
            };
            if let Some(wanted) = &mut self.wanted {
                let kept = self.packet.len().min(usize::try_from(*wanted).unwrap_or(usize::MAX));
                self.packet.truncate(kept);
                *wanted -= kept as u64;
            }
            resampler.push(&self.packet, &mut self.ready)?;
            if !matches!(more, Ok(true)) {
                self.late = more.err();
                if let Some(resampler) = self.resampler.take() {
                    resampler.finish(&mut self.ready)?;
                }
            }
        }
        Ok(())
    }
}

impl Iterator for AudioReader {
    type Item = Result<Waveform>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.fill() {
            self.resampler = None;
            return Some(Err(error));
        }
        if self.ready.is_empty() {
            let silent = !std::mem::replace(&mut self.any, true);
            let nothing = || silent.then(|| self.decoder.fail(AudioFault::NoSamples));
            return self.late.take().or_else(nothing).map(Err);
        }
        self.any = true;
        let rest = self.ready.split_off(self.ready.len().min(self.chunk));
        let samples = std::mem::replace(&mut self.ready, rest);
        Some(Ok(Waveform::new(samples, self.rate)))
    }
}
