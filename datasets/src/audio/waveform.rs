//! Sound in memory.

use super::resample::Resampler;
use crate::{DataError, Result};
use std::{io::Cursor, path::Path};

/// Mono waveform.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Waveform {
    /// `[samples]`, nominally -1 to 1; a file of floats may go beyond.
    pub samples: Vec<f32>,
    /// Samples a second, Hz.
    pub rate: u32,
}

impl Waveform {
    /// Sound of these samples.
    pub fn new(samples: Vec<f32>, rate: u32) -> Self {
        Self { samples, rate }
    }

    /// How long it lasts, s.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate.max(1))
    }

    /// Mean square of its samples; 0 without any.
    pub fn power(&self) -> f64 {
        let squares: f64 = self.samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
        squares / self.samples.len().max(1) as f64
    }

    /// Amplitude of a sine of this frequency, Hz: the Fourier transform at one point, under a Hann
    /// window.
    pub fn amplitude_at(&self, frequency: f32) -> f32 {
        let count = self.samples.len() as f64;
        let step = std::f64::consts::TAU * f64::from(frequency) / f64::from(self.rate);
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in self.samples.iter().enumerate() {
            let window = 1.0 - (std::f64::consts::TAU * n as f64 / count).cos();
            let (sin, cos) = (step * n as f64).sin_cos();
            re += f64::from(*sample) * window * cos;
            im += f64::from(*sample) * window * sin;
        }
        (2.0 * (re * re + im * im).sqrt() / count) as f32
    }

    /// The same sound at another rate, Hz; round(samples · to / from) samples.
    ///
    /// # Errors
    /// When either rate is not one of [`AudioFault::RATES`](super::AudioFault::RATES).
    pub fn resampled(self, rate: u32) -> Result<Self> {
        if rate == self.rate {
            return Ok(self);
        }
        let mut resampler = Resampler::new(self.rate, rate)?;
        let mut samples = Vec::with_capacity(resampler.output_len(self.samples.len()));
        resampler.push(&self.samples, &mut samples)?;
        resampler.finish(&mut samples)?;
        Ok(Self { samples, rate })
    }

    /// A WAV file of 16-bit samples; what lies beyond -1 to 1 is clipped.
    ///
    /// # Errors
    /// When there are more samples than a WAV file can hold.
    pub fn to_wav(&self) -> Result<Vec<u8>> {
        let failed = |error: hound::Error| DataError::Write {
            path: "WAV file".into(),
            source: std::io::Error::other(error),
        };
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: self.rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut bytes = Cursor::new(Vec::with_capacity(44 + 2 * self.samples.len()));
        let mut writer = hound::WavWriter::new(&mut bytes, spec).map_err(failed)?;
        for sample in &self.samples {
            let level = (sample * 32768.0).round().clamp(-32768.0, 32767.0);
            writer.write_sample(level as i16).map_err(failed)?;
        }
        writer.finalize().map_err(failed)?;
        Ok(bytes.into_inner())
    }

    /// Writes a WAV file of 16-bit samples, beside and then renamed: it is whole or not there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_wav(&self, path: &Path) -> Result<()> {
        let bytes = self.to_wav()?;
        let failed = |source| DataError::Write { path: path.into(), source };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let mut file =
            tempfile::NamedTempFile::new_in(dir.unwrap_or(Path::new("."))).map_err(failed)?;
        std::io::Write::write_all(&mut file, &bytes).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wav_file_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        let wave = Waveform::new(vec![0.0, 0.5, -1.0, 2.0], 8000);
        wave.write_wav(&path).unwrap();
        let read: Vec<i16> = hound::WavReader::open(&path)
            .unwrap()
            .samples()
            .map(|sample| sample.unwrap())
            .collect();
        assert_eq!(read, [0, 16384, -32768, 32767]);
        assert_eq!((wave.seconds(), wave.power()), (0.0005, 1.3125));
        let text = wave.write_wav(&dir.path().join("no/b.wav")).unwrap_err().to_string();
        assert!(text.contains("b.wav: cannot be written"), "{text}");
    }
}
