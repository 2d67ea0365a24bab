//! Who speaks.

use kiln_datasets::draw::Draw as _;
use kiln_host::Seed;

/// A speaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Voice {
    /// Mean pitch, Hz.
    pub pitch: f32,
    /// How far pitch moves within a sentence, as a share of it.
    pub melody: f32,
    /// Formants relative to a man's: the shorter the vocal tract, the higher.
    pub formants: f32,
    /// Phones a second relative to normal.
    pub speed: f32,
    /// Noise in the voice, and how soft it is, 0 to 1.
    pub breathiness: f32,
    /// Irregularity from one period to the next, as a share of the period.
    pub jitter: f32,
}

impl Voice {
    /// The voice of this number: the same for the same seed.
    pub fn numbered(seed: Seed, number: u64) -> Self {
        let rng = &mut seed.part("voice").at(number).rng();
        let pitch = rng.log_uniform(85.0, 260.0);
        // High voices come from short vocal tracts, on the whole.
        let tract = 0.92 + 0.2 * (pitch / 85.0).ln() / (260.0f32 / 85.0).ln();
        Self {
            pitch,
            melody: rng.between(0.06, 0.2),
            formants: (tract + 0.04 * rng.normal()).clamp(0.85, 1.22),
            speed: rng.log_uniform(0.85, 1.2),
            breathiness: rng.between(0.0, 0.6),
            jitter: rng.between(0.004, 0.02),
        }
    }
}
