//! A telephone line: 300 to 3400 Hz, 8 kHz, 8 bits on a logarithmic scale.

use super::share;
use crate::{
    DataError, Result,
    audio::{Biquad, Waveform, filter::BUTTERWORTH_4, g711::Law},
    draw::Draw as _,
};
use kiln_host::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Telephone channel: the band and the codec of a telephone line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telephone {
    /// How often, 0 to 1.
    pub probability: f64,
    /// Codings, one of which is drawn.
    pub laws: Vec<Law>,
}

impl Default for Telephone {
    fn default() -> Self {
        Self { probability: 0.5, laws: vec![Law::ALaw, Law::MuLaw] }
    }
}

/// Sampling rate of telephone lines, Hz.
const RATE: u32 = 8000;

/// The band that they carry, Hz.
const BAND: [f64; 2] = [300.0, 3400.0];

impl Telephone {
    pub(super) fn validate(&self) -> Result<()> {
        share("telephone.probability", self.probability)?;
        if self.laws.is_empty() {
            return Err(DataError::config("telephone.laws", "empty", "a-law, mu-law or both"));
        }
        Ok(())
    }

    /// What arrives at the other end, at the rate and of the length that it had.
    pub(super) fn apply(&self, waveform: Waveform, rng: &mut Rng) -> Result<Waveform> {
        let (rate, length) = (waveform.rate, waveform.samples.len());
        let law = self.laws.get(rng.below(self.laws.len())).copied().unwrap_or_default();
        let mut line = waveform.resampled(RATE)?;
        band_pass(&mut line);
        line.samples.iter_mut().for_each(|sample| *sample = law.decode(law.encode(*sample)));
        let mut out = line.resampled(rate)?;
        // Two roundings of a length may differ by a few samples.
        out.samples.resize(length, 0.0);
        Ok(out)
    }
}

/// Fourth-order Butterworth filters at both ends of the band.
fn band_pass(line: &mut Waveform) {
    let rate = f64::from(line.rate);
    for quality in BUTTERWORTH_4 {
        let mut low = Biquad::high_pass(BAND[0], quality, rate);
        let mut high = Biquad::low_pass(BAND[1], quality, rate);
        line.samples.iter_mut().for_each(|sample| {
            *sample = high.step(low.step(f64::from(*sample))) as f32;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tests::sine;
    use kiln_host::Seed;

    #[test]
    fn the_band_is_kept_and_the_rest_is_gone() {
        let telephone = Telephone::default();
        let level = |frequency: f32| {
            let wave = sine(frequency, 0.5, 16_000, 16_000);
            let out = telephone.apply(wave, &mut Seed::new(1).rng()).unwrap();
            assert_eq!((out.samples.len(), out.rate), (16_000, 16_000));
            20.0 * (Waveform::new(out.samples[4000..12_000].to_vec(), 16_000)
                .amplitude_at(frequency)
                / 0.5)
                .log10()
        };
        for frequency in [500.0, 1000.0, 2000.0, 3000.0] {
            assert!(level(frequency).abs() < 0.6, "{frequency} Hz: {} dB", level(frequency));
        }
        assert!((level(300.0) + 3.0).abs() < 0.5, "{}", level(300.0));
        for frequency in [100.0, 5000.0, 7000.0] {
            assert!(level(frequency) < -30.0, "{frequency} Hz: {} dB", level(frequency));
        }
    }

    #[test]
    fn coding_adds_its_noise() {
        // G.711 leaves 37 to 38 dB between speech and the noise of its steps.
        let mut clean = sine(1000.3, 0.3, 8000, 8000);
        band_pass(&mut clean);
        let coded =
            Telephone::default().apply(sine(1000.3, 0.3, 8000, 8000), &mut Seed::new(2).rng());
        let difference =
            coded.unwrap().samples.iter().zip(&clean.samples).map(|(a, b)| a - b).collect();
        let snr = 10.0 * (clean.power() / Waveform::new(difference, 8000).power()).log10();
        assert!((33.0..43.0).contains(&snr), "{snr}");
    }
}
