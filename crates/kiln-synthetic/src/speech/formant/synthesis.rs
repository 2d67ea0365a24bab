//! Targets to sound.

use super::{
    Voice,
    phone::{PHONES, Target},
};
use kiln_datasets::{audio::Biquad, draw::Draw as _};
use kiln_host::Rng;

/// What controls the synthesis, each value once a millisecond.
#[derive(Default)]
struct Tracks {
    formants: [Vec<f32>; 3],
    voice: Vec<f32>,
    breath: Vec<f32>,
    hiss: Vec<f32>,
    hiss_band: [Vec<f32>; 2],
    pitch: Vec<f32>,
}

/// Bandwidths of the formants, Hz.
const BANDWIDTHS: [f64; 5] = [70.0, 100.0, 160.0, 250.0, 300.0];

/// Formants that do not move, Hz.
const HIGH_FORMANTS: [f32; 2] = [3500.0, 4500.0];

/// Levels of the sources, so that vowels and hisses stand to one another as they do in speech.
const BREATH: f64 = 0.12;
const HISS: f64 = 0.28;

/// Says words, each a list of phones.
pub(super) fn render(words: &[&[usize]], voice: &Voice, rate: u32, rng: &mut Rng) -> Vec<f32> {
    let tracks = plan(words, voice, rng);
    let mut samples = synthesize(&tracks, voice, rate, rng);
    let peak = samples.iter().fold(0.0f32, |most, sample| most.max(sample.abs()));
    // People stand nearer to and farther from the microphone, and it hisses.
    let level = rng.log_uniform(0.2, 0.85) / peak.max(1e-6);
    let floor = rng.log_uniform(1e-4, 2e-3);
    samples.iter_mut().for_each(|sample| *sample = *sample * level + floor * rng.normal());
    samples
}

/// Lays out the targets in time and lets one flow into the next.
fn plan(words: &[&[usize]], voice: &Voice, rng: &mut Rng) -> Tracks {
    let mut tracks = Tracks::default();
    let speed = voice.speed * rng.between(0.92, 1.08);
    // A vocal tract is not quite the same from one sentence to the next.
    let scale = voice.formants * (1.0 + 0.01 * rng.normal());
    let base = voice.pitch * (1.0 + 0.04 * rng.normal());
    let silence = Target {
        ms: 0.0,
        formants: [f32::NAN; 3],
        voice: 0.0,
        breath: 0.0,
        hiss: 0.0,
        hiss_band: [2000.0, 1000.0],
    };
    let mut accents = Vec::new();
    tracks.hold(&silence, rng.between(60.0, 250.0), scale);
    for (place, word) in words.iter().enumerate() {
        let begin = tracks.len();
        for (phone, index) in word.iter().enumerate() {
            let Some((_, targets)) = PHONES.get(*index) else { continue };
            // The last syllable of a sentence is longer.
            let last = place + 1 == words.len() && phone + 2 >= word.len();
            let stretch = if last { 1.35 } else { 1.0 } * rng.between(0.85, 1.18) / speed;
            let shift = 1.0 + 0.02 * rng.normal();
            for target in *targets {
                tracks.hold(target, target.ms * stretch, scale * shift);
            }
        }
        accents.push((begin, tracks.len(), voice.melody * rng.between(-0.3, 1.0)));
        let pause = if rng.chance(0.1) { rng.between(60.0, 200.0) } else { rng.between(0.0, 30.0) };
        tracks.hold(&silence, pause, scale);
    }
    tracks.hold(&silence, rng.between(60.0, 250.0), scale);
    // Pitch falls through a sentence and rises on some of its words.
    let length = tracks.len().max(1) as f32;
    tracks.pitch = (0..tracks.len())
        .map(|ms| base * (1.0 + voice.melody * (0.5 - ms as f32 / length)))
        .collect();
    for (begin, end, height) in accents {
        tracks.pitch[begin..end].iter_mut().for_each(|pitch| *pitch *= 1.0 + height);
    }
    tracks.flow();
    tracks
}

impl Tracks {
    fn len(&self) -> usize {
        self.voice.len()
    }

    /// Holds a target for so many milliseconds.
    fn hold(&mut self, target: &Target, ms: f32, scale: f32) {
        let length = self.len() + ms.round().max(0.0) as usize;
        for (track, formant) in self.formants.iter_mut().zip(target.formants) {
            track.resize(length, formant * scale);
        }
        for (track, value) in self.hiss_band.iter_mut().zip(target.hiss_band) {
            track.resize(length, value);
        }
        self.voice.resize(length, target.voice);
        self.breath.resize(length, target.breath);
        self.hiss.resize(length, target.hiss);
    }

    /// The tongue moves within some 40 ms, levels change within some 10 ms.
    fn flow(&mut self) {
        for (track, rest) in self.formants.iter_mut().zip([500.0, 1500.0, 2500.0]) {
            fill_backwards(track, rest);
            smooth(track, 22);
        }
        for track in [&mut self.voice, &mut self.breath] {
            smooth(track, 8);
        }
        smooth(&mut self.hiss, 4);
        smooth(&mut self.pitch, 40);
    }
}

/// Where there is no formant, that of what follows; behind the last, `rest`.
fn fill_backwards(track: &mut [f32], rest: f32) {
    let mut next = track.iter().rev().find(|value| !value.is_nan()).copied().unwrap_or(rest);
    for value in track.iter_mut().rev() {
        if value.is_nan() {
            *value = next;
        }
        next = *value;
    }
}

/// A moving average over 2 · `reach` + 1 values, twice: transitions without corners.
fn smooth(track: &mut [f32], reach: usize) {
    for _ in 0..2 {
        let mut sums = Vec::with_capacity(track.len() + 1);
        let mut sum = 0.0f64;
        sums.push(sum);
        for value in track.iter() {
            sum += f64::from(*value);
            sums.push(sum);
        }
        for (place, value) in track.iter_mut().enumerate() {
            let (from, to) = (place.saturating_sub(reach), (place + reach + 1).min(sums.len() - 1));
            *value = ((sums[to] - sums[from]) / (to - from) as f64) as f32;
        }
    }
}

fn synthesize(tracks: &Tracks, voice: &Voice, rate: u32, rng: &mut Rng) -> Vec<f32> {
    let hz = f64::from(rate);
    let highest = 0.46 * hz;
    let count = tracks.len() * rate as usize / 1000;
    let mut tract = [Biquad::default(); 5];
    let mut used = 0;
    let mut constriction = Biquad::default();
    let mut constriction_level = 1.0;
    let mut glottis = Glottis::new(voice);
    let mut at = usize::MAX;
    let mut samples = Vec::with_capacity(count);
    for n in 0..count {
        let ms = (n * 1000 / rate as usize).min(tracks.len().saturating_sub(1));
        if ms != at {
            at = ms;
            let moving = tracks.formants.iter().map(|track| track[ms]);
            let formants = moving.chain(HIGH_FORMANTS.map(|formant| formant * voice.formants));
            used = 0;
            for ((filter, formant), width) in tract.iter_mut().zip(formants).zip(BANDWIDTHS) {
                let frequency = f64::from(formant).max(150.0);
                if frequency < highest {
                    let width = width * f64::from(1.0 + 0.5 * voice.breathiness);
                    filter.resonate(frequency, width, hz);
                    used += 1;
                }
            }
            let [centre, width] = [&tracks.hiss_band[0], &tracks.hiss_band[1]].map(|t| t[ms]);
            let centre = f64::from(centre * voice.formants).min(highest);
            constriction.resonate(centre, f64::from(width), hz);
            constriction_level = constriction.noise_level();
        }
        let noise = f64::from(rng.normal());
        let (pulse, open) = glottis.step(tracks.pitch[ms], hz, rng);
        let level = f64::from(tracks.voice[ms]);
        // Air rushes through the glottis while it is open.
        let breathy = f64::from(tracks.breath[ms])
            + level * f64::from(voice.breathiness) * if open { 0.5 } else { 0.1 };
        let source = level * pulse + BREATH * breathy * noise;
        let vocal = tract[..used].iter_mut().fold(source, |sound, filter| filter.step(sound));
        let hiss = constriction.step(f64::from(rng.normal())) / constriction_level;
        samples.push((vocal + HISS * f64::from(tracks.hiss[ms]) * hiss) as f32);
    }
    samples
}

/// The voice: the derivative of the flow through the glottis, t² - t³ while it is open, after
/// Klatt and Klatt, Analysis, synthesis, and perception of voice quality variations (1990).
struct Glottis {
    /// Where in the period, 0 to 1.
    phase: f64,
    jitter: f64,
    /// Length and level of this period relative to the mean.
    period: f64,
    level: f64,
    /// Share of the period in which it is open.
    open: f64,
    /// A low-pass filter of the first order: the softer the voice, the lower.
    tilt: f64,
    softened: f64,
}

impl Glottis {
    fn new(voice: &Voice) -> Self {
        let softness = f64::from(voice.breathiness);
        Self {
            phase: 0.0,
            jitter: f64::from(voice.jitter),
            period: 1.0,
            level: 1.0,
            open: 0.5 + 0.25 * softness,
            tilt: 1.0 - 0.5 * softness,
            softened: 0.0,
        }
    }

    /// The next sample, and whether the glottis is open.
    fn step(&mut self, pitch: f32, rate: f64, rng: &mut Rng) -> (f64, bool) {
        self.phase += f64::from(pitch) / (rate * self.period);
        if self.phase >= 1.0 {
            self.phase -= self.phase.floor();
            self.period = 1.0 + self.jitter * f64::from(rng.normal().clamp(-3.0, 3.0));
            self.level = 1.0 + 3.0 * self.jitter * f64::from(rng.normal().clamp(-3.0, 3.0));
        }
        let open = self.phase < self.open;
        let time = self.phase / self.open;
        let flow = if open { self.level * time * (2.0 - 3.0 * time) } else { 0.0 };
        self.softened += self.tilt * (flow - self.softened);
        (self.softened, open)
    }
}
