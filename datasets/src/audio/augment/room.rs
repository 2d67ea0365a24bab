//! Reverberation: the sound of a room.
//!
//! A room's response is the direct sound and, behind it, noise that dies away exponentially
//! (Polack's model of late reverberation, 1988); or one that was measured.

use super::{range, share};
use crate::{Result, audio::Waveform, draw::Draw as _};
use kiln_host::Rng;
use realfft::RealFftPlanner;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Reverberation by a room impulse response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Room {
    /// How often, 0 to 1.
    pub probability: f64,
    /// Shortest and longest time in which the echo falls by 60 dB, s: 0.2 is a furnished room, 1 a
    /// staircase.
    pub decay: [f32; 2],
    /// Lowest and highest ratio of the direct sound to its echo, dB: how near the speaker is.
    pub direct: [f32; 2],
    /// Recordings of measured responses; with them, none are made up.
    pub responses: Vec<PathBuf>,
}

impl Default for Room {
    fn default() -> Self {
        Self { probability: 0.3, decay: [0.15, 0.8], direct: [0.0, 15.0], responses: Vec::new() }
    }
}

impl Room {
    pub(super) fn validate(&self) -> Result<()> {
        share("room.probability", self.probability)?;
        range("room.decay", self.decay, 0.01, 10.0)?;
        range("room.direct", self.direct, -30.0, 60.0)
    }

    /// Convolves with a response; keeps length and power.
    pub(super) fn apply(&self, waveform: &mut Waveform, responses: &[Waveform], rng: &mut Rng) {
        let response = match responses.get(rng.below(responses.len())) {
            Some(response) => from_direct_sound(&response.samples),
            None => {
                let decay = rng.between(self.decay[0], self.decay[1]);
                let direct = rng.between(self.direct[0], self.direct[1]);
                made_up(rng, waveform.rate, decay, direct)
            }
        };
        let before = waveform.power();
        convolve(&mut waveform.samples, &response);
        let after = waveform.power();
        if after > 0.0 {
            let scale = (before / after).sqrt() as f32;
            waveform.samples.iter_mut().for_each(|sample| *sample *= scale);
        }
    }
}

/// A measured response from its loudest sample on, so that speech is not shifted.
fn from_direct_sound(samples: &[f32]) -> Vec<f32> {
    let loudest = samples.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
    samples[loudest.map_or(0, |(place, _)| place)..].to_vec()
}

fn made_up(rng: &mut Rng, rate: u32, decay: f32, direct: f32) -> Vec<f32> {
    let length = (decay * rate as f32) as usize;
    // The first echo comes from a wall one to five metres away.
    let gap = (rng.between(0.003, 0.015) * rate as f32) as usize;
    let fall = (1e-3f32).ln() / length.max(1) as f32;
    let mut response: Vec<f32> = (0..length.max(1))
        .map(|place| if place < gap { 0.0 } else { rng.normal() * (fall * place as f32).exp() })
        .collect();
    let echo: f32 = response.iter().map(|value| value * value).sum();
    let scale = if echo > 0.0 { (super::amplitude(-direct)) / echo.sqrt() } else { 0.0 };
    response.iter_mut().for_each(|value| *value *= scale);
    if let Some(first) = response.first_mut() {
        *first = 1.0;
    }
    response
}

/// Convolves in place by the Fourier transform; the tail behind the end is cut.
fn convolve(samples: &mut [f32], response: &[f32]) {
    if samples.is_empty() || response.is_empty() {
        return;
    }
    let size = (samples.len() + response.len()).next_power_of_two();
    let mut planner = RealFftPlanner::new();
    let (forward, inverse) = (planner.plan_fft_forward(size), planner.plan_fft_inverse(size));
    let spectrum = |values: &[f32]| {
        let mut padded = values.to_vec();
        padded.resize(size, 0.0);
        let mut spectrum = forward.make_output_vec();
        forward.process(&mut padded, &mut spectrum).map(|()| spectrum)
    };
    let (Ok(mut product), Ok(other)) = (spectrum(samples), spectrum(response)) else { return };
    product.iter_mut().zip(other).for_each(|(a, b)| *a *= b);
    let mut out = vec![0.0; size];
    if inverse.process(&mut product, &mut out).is_ok() {
        samples.iter_mut().zip(out).for_each(|(sample, value)| *sample = value / size as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Seed;

    #[test]
    fn convolution_is_the_sum_it_should_be() {
        let mut samples = [1.0, 2.0, 0.0, -1.0];
        convolve(&mut samples, &[0.5, 0.25]);
        for (found, expected) in samples.iter().zip([0.5, 1.25, 0.5, -0.5]) {
            assert!((found - expected).abs() < 1e-6, "{samples:?}");
        }
    }

    #[test]
    fn an_echo_decays_in_its_time() {
        let response = made_up(&mut Seed::new(1).rng(), 16_000, 0.5, 6.0);
        let energy = |from: f32, to: f32| {
            let part = &response[(from * 16_000.0) as usize..(to * 16_000.0) as usize];
            part.iter().map(|value| value * value).sum::<f32>()
        };
        // 60 dB in 0.5 s: 24 dB in 0.2 s.
        let fall = 10.0 * (energy(0.05, 0.1) / energy(0.25, 0.3)).log10();
        assert!((fall - 24.0).abs() < 1.5, "{fall}");
        let direct = 10.0 * (1.0 / energy(0.0001, 0.5)).log10();
        assert!((direct - 6.0).abs() < 0.1, "{direct}");
    }

    #[test]
    fn power_and_place_stay() {
        let room = Room { direct: [10.0, 10.0], ..Room::default() };
        let mut click = Waveform::new(vec![0.0; 4000], 8000);
        click.samples[1000] = 1.0;
        let before = click.power();
        room.apply(&mut click, &[], &mut Seed::new(2).rng());
        let loudest = click.samples.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
        assert_eq!(loudest.0, 1000);
        assert!((click.power() / before - 1.0).abs() < 1e-3);
        // A measured response is taken from its direct sound on.
        let measured = Waveform::new(vec![0.0, 0.0, 1.0, 0.5], 8000);
        let mut click = Waveform::new(vec![1.0, 0.0, 0.0], 8000);
        room.apply(&mut click, &[measured], &mut Seed::new(2).rng());
        assert!((click.samples[1] / click.samples[0] - 0.5).abs() < 1e-5, "{:?}", click.samples);
    }
}
