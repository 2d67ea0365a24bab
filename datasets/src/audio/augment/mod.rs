//! Clean recordings made to sound like a room, a street, a telephone.
//!
//! In the order in which it happens to real speech: the speaker (speed), the room (reverberation),
//! what else is heard (noise), the line (telephone), the receiver (gain). Each with a probability;
//! the generator that is handed in decides, so that a clip is augmented the same way again.

mod noise;
mod room;
mod telephone;

pub use noise::{Noise, NoiseKind};
pub use room::Room;
pub use telephone::Telephone;

use super::{Waveform, resample::Resampler};
use crate::{DataError, Result, draw::Draw as _};
use kiln_host::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Audio augmentation: each part is applied where it is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Faster or slower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<Speed>,
    /// The echo of a room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<Room>,
    /// Something else is heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// The band and the coding of a telephone line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telephone: Option<Telephone>,
    /// Louder or softer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<Gain>,
}

/// Speed perturbation: plays a recording faster or slower, which moves its pitch and formants too
/// (Ko et al., Audio augmentation for speech recognition, 2015).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Speed {
    /// How often, 0 to 1.
    pub probability: f64,
    /// Factors, one of which is drawn; 1.1 is a tenth faster. In steps of 0.001.
    pub factors: Vec<f64>,
}

impl Default for Speed {
    fn default() -> Self {
        Self { probability: 1.0, factors: vec![0.9, 1.0, 1.1] }
    }
}

/// Gain perturbation: makes a recording louder or softer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gain {
    /// How often, 0 to 1.
    pub probability: f64,
    /// Lowest and highest gain, dB.
    pub decibels: [f32; 2],
}

impl Default for Gain {
    fn default() -> Self {
        Self { probability: 1.0, decibels: [-12.0, 3.0] }
    }
}

/// An [`Augmentation`] with the files that it needs, for one sampling rate.
#[derive(Clone, Debug)]
pub struct Augmenter {
    config: Augmentation,
    rate: u32,
    /// Recordings of noise.
    noises: Vec<Waveform>,
    /// Responses of rooms.
    responses: Vec<Waveform>,
    /// Speech of others, for babble.
    voices: Vec<Waveform>,
}

impl Augmentation {
    /// Reads the files that it names, at `rate` Hz. `voices` are clips of speech at that rate that
    /// babble is mixed from; without any there is none.
    ///
    /// # Errors
    /// When a value cannot be, or a file cannot be read.
    pub fn load(&self, rate: u32, voices: Vec<Waveform>) -> Result<Augmenter> {
        self.validate()?;
        let read = |paths: &[std::path::PathBuf]| {
            paths.iter().map(|path| super::read(path, rate)).collect::<Result<Vec<_>>>()
        };
        let noises = self.noise.as_ref().map_or(Ok(Vec::new()), |noise| read(&noise.files))?;
        let responses = self.room.as_ref().map_or(Ok(Vec::new()), |room| read(&room.responses))?;
        if self.needs_voices() && voices.is_empty() {
            let expected = "other clips to mix it from, of which there are none here";
            return Err(DataError::config("noise.kinds", "babble", expected));
        }
        Ok(Augmenter { config: self.clone(), rate, noises, responses, voices })
    }

    /// Whether it mixes babble, for which it needs speech of others.
    pub fn needs_voices(&self) -> bool {
        self.noise.as_ref().is_some_and(|noise| noise.kinds.contains(&NoiseKind::Babble))
    }

    /// Checks the configuration.
    ///
    /// # Errors
    /// Names the first value that cannot be.
    pub fn validate(&self) -> Result<()> {
        if let Some(speed) = &self.speed {
            share("speed.probability", speed.probability)?;
            let wrong = speed.factors.iter().find(|factor| !(0.5..=2.0).contains(*factor));
            if speed.factors.is_empty() || wrong.is_some() {
                let found = wrong.map_or_else(|| "empty".into(), ToString::to_string);
                return Err(DataError::config("speed.factors", found, "factors from 0.5 to 2"));
            }
        }
        if let Some(room) = &self.room {
            room.validate()?;
        }
        if let Some(noise) = &self.noise {
            noise.validate()?;
        }
        if let Some(telephone) = &self.telephone {
            telephone.validate()?;
        }
        if let Some(gain) = &self.gain {
            share("gain.probability", gain.probability)?;
            range("gain.decibels", gain.decibels, -60.0, 40.0)?;
        }
        Ok(())
    }
}

impl Augmenter {
    /// What becomes of a recording. Its length changes with its speed alone.
    ///
    /// # Errors
    /// When the recording is not at the rate that the augmenter was made for.
    pub fn apply(&self, waveform: Waveform, rng: &mut Rng) -> Result<Waveform> {
        if waveform.rate != self.rate {
            let expected = format!("{} Hz, as the augmentation", self.rate);
            return Err(DataError::config("rate", waveform.rate, expected));
        }
        let mut waveform = waveform;
        if let Some(speed) = self.config.speed.as_ref().filter(|s| rng.chance(s.probability)) {
            let factor = speed.factors.get(rng.below(speed.factors.len())).copied().unwrap_or(1.0);
            waveform.samples = at_speed(&waveform.samples, factor)?;
        }
        if let Some(room) = self.config.room.as_ref().filter(|r| rng.chance(r.probability)) {
            room.apply(&mut waveform, &self.responses, rng);
        }
        if let Some(noise) = self.config.noise.as_ref().filter(|n| rng.chance(n.probability)) {
            noise.apply(&mut waveform, &self.noises, &self.voices, rng);
        }
        if let Some(line) = self.config.telephone.as_ref().filter(|t| rng.chance(t.probability)) {
            waveform = line.apply(waveform, rng)?;
        }
        if let Some(gain) = self.config.gain.as_ref().filter(|g| rng.chance(g.probability)) {
            let factor = amplitude(rng.between(gain.decibels[0], gain.decibels[1]));
            waveform.samples.iter_mut().for_each(|sample| *sample *= factor);
        }
        Ok(waveform)
    }
}

/// Samples played `factor` times as fast.
fn at_speed(samples: &[f32], factor: f64) -> Result<Vec<f32>> {
    const STEPS: u32 = 1000;
    let mut resampler = Resampler::of_ratio((factor * f64::from(STEPS)).round() as u32, STEPS)?;
    let mut out = Vec::with_capacity(resampler.output_len(samples.len()));
    resampler.push(samples, &mut out)?;
    resampler.finish(&mut out)?;
    Ok(out)
}

/// The factor of a gain in dB.
fn amplitude(decibels: f32) -> f32 {
    10f32.powf(decibels / 20.0)
}

fn share(key: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(DataError::config(key, value, "a probability from 0 to 1"))
}

fn range(key: &str, [low, high]: [f32; 2], least: f32, most: f32) -> Result<()> {
    if least <= low && low <= high && high <= most {
        return Ok(());
    }
    Err(DataError::config(key, format!("{low} to {high}"), format!("within {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tests::sine;
    use kiln_host::Seed;

    fn apply(config: &Augmentation, wave: &Waveform, seed: u64) -> Waveform {
        let augmenter = config.load(wave.rate, vec![sine(180.0, 0.4, wave.rate, 3000)]).unwrap();
        augmenter.apply(wave.clone(), &mut Seed::new(seed).rng()).unwrap()
    }

    #[test]
    fn everything_at_once_is_a_function_of_the_generator() {
        let config = Augmentation {
            speed: Some(Speed::default()),
            room: Some(Room { probability: 0.5, ..Room::default() }),
            noise: Some(Noise { kinds: NoiseKind::ALL.to_vec(), ..Noise::default() }),
            telephone: Some(Telephone::default()),
            gain: Some(Gain::default()),
        };
        let wave = sine(440.0, 0.3, 16_000, 8_000);
        assert_eq!(apply(&config, &wave, 1), apply(&config, &wave, 1));
        assert_ne!(apply(&config, &wave, 1), apply(&config, &wave, 2));
        for seed in 0..20 {
            let out = apply(&config, &wave, seed);
            assert!(out.samples.iter().all(|sample| sample.is_finite()));
            assert!([7273, 8000, 8889].contains(&out.samples.len()), "{}", out.samples.len());
        }
        let nothing = Augmentation::default();
        assert_eq!(apply(&nothing, &wave, 1), wave);
        // Nothing is said in an empty or a silent clip, and nothing breaks.
        for samples in [vec![], vec![0.0], vec![0.0; 500]] {
            let out = apply(&config, &Waveform::new(samples, 16_000), 3);
            assert!(out.samples.iter().all(|sample| sample.is_finite()));
        }
    }

    #[test]
    fn speed_moves_pitch_and_length() {
        let faster = Speed { probability: 1.0, factors: vec![1.25] };
        let config = Augmentation { speed: Some(faster), ..Augmentation::default() };
        let out = apply(&config, &sine(400.0, 0.5, 8000, 10_000), 1);
        assert_eq!(out.samples.len(), 8000);
        let middle = Waveform::new(out.samples[2000..6000].to_vec(), 8000);
        assert!(middle.amplitude_at(500.0) > 0.49 && middle.amplitude_at(400.0) < 0.01);
    }

    #[test]
    fn gain_is_in_decibels() {
        let softer = Gain { probability: 1.0, decibels: [-20.0, -20.0] };
        let config = Augmentation { gain: Some(softer), ..Augmentation::default() };
        let wave = sine(400.0, 0.5, 8000, 8000);
        let ratio = apply(&config, &wave, 1).power() / wave.power();
        assert!((ratio - 0.01).abs() < 1e-6, "{ratio}");
    }

    #[test]
    fn mistakes_are_named() {
        let message = |text: &str| {
            toml::from_str::<Augmentation>(text).unwrap().validate().unwrap_err().to_string()
        };
        let text = message("gain = { probability = 2.0 }");
        assert_eq!(text, "`gain.probability` is 2, expected a probability from 0 to 1");
        assert!(message("speed = { factors = [0.1] }").contains("`speed.factors` is 0.1"));
        assert!(message("noise = { snr = [20.0, 0.0] }").contains("`noise.snr` is 20 to 0"));
        assert!(message("room = { decay = [0.0, 1.0] }").contains("`room.decay` is 0 to 1"));
        assert!(message("telephone = { laws = [] }").contains("`telephone.laws` is empty"));
        assert!(toml::from_str::<Augmentation>("echo = {}").is_err());
        let babble = Noise { kinds: vec![NoiseKind::Babble], ..Noise::default() };
        let config = Augmentation { noise: Some(babble), ..Augmentation::default() };
        assert!(config.load(8000, vec![]).unwrap_err().to_string().contains("other clips"));
        let wrong_rate = config.load(8000, vec![sine(1.0, 1.0, 8000, 9)]).unwrap();
        let wave = Waveform::new(vec![0.0], 16_000);
        assert!(wrong_rate.apply(wave, &mut Seed::new(1).rng()).is_err());
    }
}
