//! Phones: about forty of American English, by the names of the CMU
//! pronouncing dictionary in lower case.
//!
//! Formants of vowels: a man's, Peterson and Barney, Control methods used in a study of the vowels
//! (1952); of consonants after Klatt, Software for a cascade/parallel formant synthesizer (1980).

/// What the mouth does for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// How long at normal speed, ms.
    pub ms: f32,
    /// The first three formants, Hz; where NaN, those of what follows.
    pub formants: [f32; 3],
    /// Level of the voice.
    pub voice: f32,
    /// Level of noise from the glottis, which the formants shape.
    pub breath: f32,
    /// Level of noise from a constriction.
    pub hiss: f32,
    /// Its centre and width, Hz.
    pub hiss_band: [f32; 2],
}

/// Formants that are those of what follows.
const OPEN: [f32; 3] = [f32::NAN; 3];

const fn voiced(ms: f32, formants: [f32; 3], voice: f32) -> Target {
    Target { ms, formants, voice, breath: 0.0, hiss: 0.0, hiss_band: [2000.0, 1000.0] }
}

const fn vowel(ms: f32, f1: f32, f2: f32, f3: f32) -> Target {
    voiced(ms, [f1, f2, f3], 1.0)
}

/// A hiss, with voice or without.
const fn hiss(ms: f32, formants: [f32; 3], voice: f32, level: f32, band: [f32; 2]) -> Target {
    Target { ms, formants, voice, breath: 0.0, hiss: level, hiss_band: band }
}

/// Breath through the vocal tract as it will be.
const fn breath(ms: f32, level: f32) -> Target {
    Target { ms, formants: OPEN, voice: 0.0, breath: level, hiss: 0.0, hiss_band: [2000.0, 1000.0] }
}

/// The mouth closed, and voice heard through its walls or not.
const fn closure(ms: f32, formants: [f32; 3], voice: f32) -> Target {
    voiced(ms, formants, voice)
}

const LIPS: [f32; 3] = [250.0, 900.0, 2150.0];
const TEETH: [f32; 3] = [250.0, 1700.0, 2600.0];
const PALATE: [f32; 3] = [250.0, 2100.0, 2500.0];
const LIP_BURST: [f32; 2] = [700.0, 900.0];
const TOOTH_BURST: [f32; 2] = [3700.0, 1200.0];
const PALATE_BURST: [f32; 2] = [1900.0, 500.0];
const S: [f32; 2] = [5200.0, 1500.0];
const SH: [f32; 2] = [2500.0, 900.0];
const F: [f32; 2] = [1500.0, 4000.0];
const TH: [f32; 2] = [3200.0, 4000.0];

/// Name and targets of each phone.
pub(super) const PHONES: &[(&str, &[Target])] = &[
    ("iy", &[vowel(115.0, 270.0, 2290.0, 3010.0)]),
    ("ih", &[vowel(85.0, 390.0, 1990.0, 2550.0)]),
    ("eh", &[vowel(95.0, 530.0, 1840.0, 2480.0)]),
    ("ae", &[vowel(125.0, 660.0, 1720.0, 2410.0)]),
    ("ah", &[vowel(75.0, 640.0, 1190.0, 2390.0)]),
    ("aa", &[vowel(125.0, 730.0, 1090.0, 2440.0)]),
    ("ao", &[vowel(130.0, 570.0, 840.0, 2410.0)]),
    ("uh", &[vowel(85.0, 440.0, 1020.0, 2240.0)]),
    ("uw", &[vowel(115.0, 300.0, 870.0, 2240.0)]),
    ("er", &[vowel(115.0, 490.0, 1350.0, 1690.0)]),
    ("ey", &[vowel(75.0, 480.0, 2000.0, 2560.0), vowel(70.0, 320.0, 2230.0, 2850.0)]),
    ("ay", &[vowel(85.0, 730.0, 1200.0, 2440.0), vowel(75.0, 380.0, 2050.0, 2600.0)]),
    ("ow", &[vowel(75.0, 540.0, 1000.0, 2400.0), vowel(70.0, 370.0, 820.0, 2300.0)]),
    ("aw", &[vowel(85.0, 730.0, 1250.0, 2440.0), vowel(75.0, 430.0, 900.0, 2300.0)]),
    ("oy", &[vowel(80.0, 570.0, 840.0, 2410.0), vowel(75.0, 380.0, 2050.0, 2600.0)]),
    ("w", &[voiced(60.0, [290.0, 610.0, 2150.0], 0.6)]),
    ("y", &[voiced(55.0, [260.0, 2150.0, 3020.0], 0.6)]),
    ("r", &[voiced(65.0, [310.0, 1060.0, 1380.0], 0.6)]),
    ("l", &[voiced(65.0, [340.0, 1050.0, 2880.0], 0.55)]),
    ("m", &[voiced(75.0, [260.0, 1050.0, 2100.0], 0.35)]),
    ("n", &[voiced(70.0, [260.0, 1550.0, 2500.0], 0.35)]),
    ("ng", &[voiced(80.0, [260.0, 2100.0, 2850.0], 0.35)]),
    ("p", &[closure(65.0, LIPS, 0.0), hiss(8.0, LIPS, 0.0, 0.35, LIP_BURST), breath(35.0, 0.5)]),
    (
        "t",
        &[closure(55.0, TEETH, 0.0), hiss(14.0, TEETH, 0.0, 0.6, TOOTH_BURST), breath(35.0, 0.5)],
    ),
    (
        "k",
        &[
            closure(60.0, PALATE, 0.0),
            hiss(18.0, PALATE, 0.0, 0.6, PALATE_BURST),
            breath(38.0, 0.5),
        ],
    ),
    ("b", &[closure(60.0, LIPS, 0.12), hiss(6.0, LIPS, 0.3, 0.25, LIP_BURST)]),
    ("d", &[closure(50.0, TEETH, 0.12), hiss(8.0, TEETH, 0.3, 0.4, TOOTH_BURST)]),
    ("g", &[closure(55.0, PALATE, 0.12), hiss(12.0, PALATE, 0.3, 0.4, PALATE_BURST)]),
    ("f", &[hiss(95.0, LIPS, 0.0, 0.22, F)]),
    ("v", &[hiss(65.0, LIPS, 0.35, 0.12, F)]),
    ("th", &[hiss(90.0, [320.0, 1290.0, 2540.0], 0.0, 0.16, TH)]),
    ("dh", &[hiss(50.0, [270.0, 1290.0, 2540.0], 0.4, 0.06, TH)]),
    ("s", &[hiss(105.0, TEETH, 0.0, 0.7, S)]),
    ("z", &[hiss(75.0, TEETH, 0.3, 0.4, S)]),
    ("sh", &[hiss(105.0, [300.0, 1840.0, 2750.0], 0.0, 0.8, SH)]),
    ("zh", &[hiss(75.0, [300.0, 1840.0, 2750.0], 0.3, 0.45, SH)]),
    ("hh", &[breath(65.0, 0.6)]),
    ("ch", &[closure(50.0, TEETH, 0.0), hiss(75.0, [300.0, 1840.0, 2750.0], 0.0, 0.8, SH)]),
    ("jh", &[closure(45.0, TEETH, 0.12), hiss(55.0, [300.0, 1840.0, 2750.0], 0.3, 0.5, SH)]),
];

/// The place of a phone in [`PHONES`].
pub(super) fn phone(name: &str) -> Option<usize> {
    PHONES.iter().position(|(known, _)| *known == name)
}
