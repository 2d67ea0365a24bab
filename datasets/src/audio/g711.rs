//! ITU-T G.711: 8 bits a sample on telephone lines, on a logarithmic scale.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Companding law.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Law {
    /// Europe and most of the world.
    #[default]
    ALaw,
    /// North America and Japan.
    MuLaw,
}

impl Law {
    /// The code of a sample from -1 to 1; what lies beyond is clipped.
    pub fn encode(self, sample: f32) -> u8 {
        let level = (sample * 32768.0).round().clamp(-32768.0, 32767.0) as i32;
        match self {
            Self::ALaw => encode_a(level),
            Self::MuLaw => encode_mu(level),
        }
    }

    /// The sample of a code.
    pub fn decode(self, code: u8) -> f32 {
        let level = match self {
            Self::ALaw => decode_a(code),
            Self::MuLaw => decode_mu(code),
        };
        level as f32 / 32768.0
    }
}

/// Added before the logarithm of mu-law, at 16 bits.
const BIAS: i32 = 0x84;

fn encode_mu(level: i32) -> u8 {
    let sign = if level < 0 { 0x80 } else { 0 };
    let magnitude = level.abs().min(32_635) + BIAS;
    let (segment, step) = split(magnitude);
    !(sign | segment << 4 | step)
}

fn decode_mu(code: u8) -> i32 {
    let code = !code;
    let (segment, step) = (i32::from(code >> 4 & 7), i32::from(code & 15));
    let magnitude = ((step << 3 | BIAS) << segment) - BIAS;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

fn encode_a(level: i32) -> u8 {
    // Every other bit is inverted, so that silence is not a row of zeros on the line.
    let (sign, magnitude) = if level < 0 { (0, !level) } else { (0x80, level) };
    let code = if magnitude < 256 {
        (magnitude >> 4) as u8
    } else {
        let (segment, step) = split(magnitude);
        segment << 4 | step
    };
    (sign | code) ^ 0x55
}

fn decode_a(code: u8) -> i32 {
    let code = code ^ 0x55;
    let (segment, step) = (i32::from(code >> 4 & 7), i32::from(code & 15));
    let magnitude = match segment {
        0 => step << 4 | 8,
        _ => (step << 4 | 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

/// The segment (octave above 128) and the step in it, of 16, for 128 to 32767.
fn split(magnitude: i32) -> (u8, u8) {
    let segment = (magnitude.max(128).ilog2() - 7).min(7);
    (segment as u8, (magnitude >> (segment + 3) & 15) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back() {
        for law in [Law::ALaw, Law::MuLaw] {
            for code in 0..=255u8 {
                let sample = law.decode(code);
                // Mu-law has a zero of either sign.
                let same = law.encode(sample) == code || (law == Law::MuLaw && code == 0x7f);
                assert!(same, "{law:?} {code}: {sample}");
            }
        }
    }

    #[test]
    fn as_the_recommendation_has_it() {
        // Idle codes and the two ends.
        assert_eq!((Law::MuLaw.encode(0.0), Law::ALaw.encode(0.0)), (0xff, 0xd5));
        assert_eq!((Law::MuLaw.encode(1.0), Law::ALaw.encode(1.0)), (0x80, 0xaa));
        assert_eq!((Law::MuLaw.encode(-1.0), Law::ALaw.encode(-1.0)), (0x00, 0x2a));
        assert_eq!(Law::MuLaw.decode(0x80) * 32768.0, 32_124.0);
        assert_eq!(Law::ALaw.decode(0xaa) * 32768.0, 32_256.0);
    }

    #[test]
    fn the_error_is_a_few_percent() {
        for law in [Law::ALaw, Law::MuLaw] {
            for step in 1..1000 {
                let sample = step as f32 / 1000.0;
                let error = (law.decode(law.encode(sample)) - sample).abs();
                assert!(error <= 0.035 * sample + 3e-4, "{law:?} {sample}: {error}");
            }
        }
    }
}
