//! Any rate to any other, in one go or chunk by chunk.
//!
//! A windowed-sinc low-pass filter applied in blocks of the Fourier transform (Rubato's
//! synchronous resampler), long enough for a flat response up to 95 % of the lower of the two
//! Nyquist frequencies and aliases below -100 dB.

use super::AudioFault;
use crate::{DataError, Result};
use rubato::{
    Fft, FixedSync, Indexing, Resampler as _, WindowFunction,
    audioadapter_buffers::direct::SequentialSliceOfSlices,
};

/// Samples of a filter block at the lower rate, at least: its transition band is some percent.
const BLOCK: usize = 512;

/// Resamples a stream: what goes in may be cut into pieces anywhere.
pub struct Resampler {
    from: u32,
    to: u32,
    /// None where the rates are the same.
    filter: Option<Filter>,
    /// Samples that came in.
    received: u64,
    /// Samples that went out.
    given: u64,
}

struct Filter {
    fft: Fft<f32>,
    /// Samples that wait for a whole block.
    waiting: Vec<f32>,
    block: Vec<f32>,
    /// Samples of the filter's delay that are still to be dropped.
    delay: usize,
}

impl Resampler {
    /// A resampler from one rate to another, Hz.
    ///
    /// # Errors
    /// When a rate is not one of [`AudioFault::RATES`].
    pub fn new(from: u32, to: u32) -> Result<Self> {
        for rate in [from, to] {
            if !AudioFault::RATES.contains(&rate) {
                let (low, high) = (AudioFault::RATES.start(), AudioFault::RATES.end());
                return Err(DataError::config("rate", rate, format!("{low} to {high} Hz")));
            }
        }
        Self::of_ratio(from, to)
    }

    /// As [`Self::new`]; only the ratio of the two counts, not that they are rates.
    pub(super) fn of_ratio(from: u32, to: u32) -> Result<Self> {
        let filter = if from == to { None } else { Some(Filter::new(from, to)?) };
        Ok(Self { from, to, filter, received: 0, given: 0 })
    }

    /// Samples that come out when `samples` have gone in: round(samples · to / from).
    pub fn output_len(&self, samples: usize) -> usize {
        rescaled(samples as u64, self.from, self.to) as usize
    }

    /// Appends to `out` what `samples` complete; the rest waits for more.
    ///
    /// # Errors
    /// None that input can cause.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<()> {
        self.received += samples.len() as u64;
        let old = out.len();
        match &mut self.filter {
            None => out.extend_from_slice(samples),
            Some(filter) => filter.push(samples, out)?,
        }
        self.given += (out.len() - old) as u64;
        Ok(())
    }

    /// Appends the rest; afterwards exactly [`Self::output_len`] of all samples have come out.
    ///
    /// # Errors
    /// None that input can cause.
    pub fn finish(mut self, out: &mut Vec<f32>) -> Result<()> {
        let due = rescaled(self.received, self.from, self.to);
        let Some(filter) = &mut self.filter else { return Ok(()) };
        let old = out.len();
        let missing = usize::try_from(due.saturating_sub(self.given)).unwrap_or(usize::MAX);
        while out.len() - old < missing {
            filter.pad(out)?;
        }
        out.truncate(old + missing);
        Ok(())
    }
}

impl Filter {
    fn new(from: u32, to: u32) -> Result<Self> {
        let failed =
            |error: &dyn std::fmt::Display| DataError::config("rate", from, error.to_string());
        let (from_hz, to_hz) = (from as usize, to as usize);
        let unit = from_hz / greatest_common_divisor(from_hz, to_hz);
        // An even number of units, so that the delay is a whole number of samples.
        let lower = unit * to_hz.min(from_hz) / from_hz;
        let units = 2 * (BLOCK / 2).div_ceil(lower.max(1)).max(1);
        let fft = Fft::new_custom(
            from_hz,
            to_hz,
            unit * units,
            1,
            1,
            WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )
        .map_err(|error| failed(&error))?;
        let block = vec![0.0; fft.output_frames_max()];
        let delay = fft.output_delay();
        Ok(Self { fft, waiting: Vec::new(), block, delay })
    }

    fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<()> {
        self.waiting.extend_from_slice(samples);
        let waiting = std::mem::take(&mut self.waiting);
        let size = self.fft.input_frames_next();
        let mut blocks = waiting.chunks_exact(size);
        for block in &mut blocks {
            self.process(block, out)?;
        }
        self.waiting.extend_from_slice(blocks.remainder());
        Ok(())
    }

    /// One block of what waits, with silence behind.
    fn pad(&mut self, out: &mut Vec<f32>) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.process(&waiting, out)
    }

    fn process(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| {
            DataError::config("rate", "not usable", format!("another: {error}"))
        };
        let input = [samples];
        let input = SequentialSliceOfSlices::new(&input, 1, samples.len())
            .map_err(|error| failed(&error))?;
        let frames = self.block.len();
        let mut output = [self.block.as_mut_slice()];
        let mut output = SequentialSliceOfSlices::new_mut(&mut output, 1, frames)
            .map_err(|error| failed(&error))?;
        let indexing = Indexing::new().partial_len(samples.len());
        let (_, made) = self
            .fft
            .process_into_buffer(&input, &mut output, Some(&indexing))
            .map_err(|error| failed(&error))?;
        let dropped = self.delay.min(made);
        self.delay -= dropped;
        out.extend_from_slice(&self.block[dropped..made]);
        Ok(())
    }
}

/// round(count · to / from)
fn rescaled(count: u64, from: u32, to: u32) -> u64 {
    let (count, from, to) = (u128::from(count), u128::from(from.max(1)), u128::from(to));
    u64::try_from((2 * count * to + from) / (2 * from)).unwrap_or(u64::MAX)
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{Waveform, tests::sine};
    use proptest::prelude::*;

    #[test]
    fn a_sine_keeps_its_frequency_level_and_phase() {
        for (from, to) in [(44_100, 16_000), (8_000, 16_000), (48_000, 8_000), (11_025, 16_000)] {
            let out = sine(440.0, 1.0, from, from as usize).resampled(to).unwrap();
            let expected = sine(440.0, 1.0, to, to as usize);
            let middle = to as usize / 4..to as usize * 3 / 4;
            let error = out.samples[middle.clone()]
                .iter()
                .zip(&expected.samples[middle])
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(error < 1e-3, "{from} to {to}: {error}");
        }
    }

    #[test]
    fn what_lies_above_the_new_nyquist_frequency_is_gone() {
        // 9 kHz would come back as 7 kHz, 8.2 kHz as 7.8 kHz.
        for (frequency, alias) in [(9_000.0, 7_000.0), (8_200.0, 7_800.0)] {
            let out = sine(frequency, 1.0, 44_100, 44_100).resampled(16_000).unwrap();
            let middle = Waveform::new(out.samples[4000..12_000].to_vec(), 16_000);
            assert!(middle.power() < 0.5e-8, "{frequency}: {} in all", middle.power());
            assert!(middle.amplitude_at(alias) < 1e-4);
        }
        // And what speech needs of the band is kept.
        let out = sine(7_400.0, 1.0, 44_100, 44_100).resampled(16_000).unwrap();
        let middle = Waveform::new(out.samples[4000..12_000].to_vec(), 16_000);
        assert!((middle.amplitude_at(7_400.0) - 1.0).abs() < 0.01);
    }

    #[test]
    fn lengths_are_rounded() {
        for (len, from, to, expected) in [
            (1, 8_000, 16_000, 2),
            (1, 44_100, 16_000, 0),
            (3, 44_100, 16_000, 1),
            (0, 8_000, 16_000, 0),
        ] {
            let out = Waveform::new(vec![0.5; len], from).resampled(to).unwrap();
            assert_eq!(out.samples.len(), expected, "{len} samples, {from} to {to}");
        }
        assert!(Waveform::new(vec![0.0], 0).resampled(8_000).is_err());
        let text = Resampler::new(8_000, 7).err().unwrap().to_string();
        assert_eq!(text, "`rate` is 7, expected 1000 to 768000 Hz");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn pieces_give_what_the_whole_gives(
            from in prop::sample::select(vec![8_000u32, 11_025, 16_000, 22_050, 44_100]),
            to in prop::sample::select(vec![8_000u32, 16_000]),
            len in 0usize..5000,
            piece in 1usize..2000,
        ) {
            let wave = sine(700.0, 0.5, from, len);
            let mut resampler = Resampler::new(from, to).unwrap();
            let mut pieces = Vec::new();
            for piece in wave.samples.chunks(piece) {
                resampler.push(piece, &mut pieces).unwrap();
            }
            let due = resampler.output_len(len);
            resampler.finish(&mut pieces).unwrap();
            prop_assert_eq!(pieces.len(), due);
            prop_assert_eq!(pieces, wave.resampled(to).unwrap().samples);
        }
    }
}
