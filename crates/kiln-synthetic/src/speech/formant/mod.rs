//! Speech by formant synthesis: a source, the voice or noise, behind filters, the vocal tract.
//!
//! After Klatt, Software for a cascade/parallel formant synthesizer (1980), reduced to what a
//! recogniser needs in order to have something to learn: formants that move between targets, a
//! voice with melody, jitter and breath, hisses, bursts and closures. Nobody would call it natural.

mod phone;
mod synthesis;
mod voice;

pub use voice::Voice;

use super::grammar::{Pronunciations, Sentences};
use kiln_datasets::{
    DataError, Result,
    audio::{AudioFault, Waveform},
};
use kiln_host::Rng;
use std::collections::HashMap;

/// Formant synthesizer of words whose pronunciation it knows.
#[derive(Clone, Debug)]
pub struct Synthesizer {
    words: HashMap<String, Vec<usize>>,
    rate: u32,
}

impl Synthesizer {
    /// A synthesizer of the embedded English words, at `rate` Hz.
    ///
    /// # Errors
    /// When the rate is not one of [`AudioFault::RATES`].
    pub fn english(rate: u32) -> Result<Self> {
        Self::new(&Sentences::English.read()?.1, rate)
    }

    /// A synthesizer of these words.
    pub(super) fn new(pronunciations: &Pronunciations, rate: u32) -> Result<Self> {
        if !AudioFault::RATES.contains(&rate) {
            let (low, high) = (AudioFault::RATES.start(), AudioFault::RATES.end());
            return Err(DataError::config("rate", rate, format!("{low} to {high} Hz")));
        }
        let mut words = HashMap::new();
        for (word, phones) in pronunciations {
            let known = |name: &str| {
                phone::phone(name).ok_or_else(|| {
                    let expected = phone::PHONES.iter().map(|(name, _)| *name).collect::<Vec<_>>();
                    DataError::config(format!("words.{word}"), name, expected.join(", "))
                })
            };
            let phones = phones.split_whitespace().map(known).collect::<Result<Vec<_>>>()?;
            words.insert(word.clone(), phones);
        }
        Ok(Self { words, rate })
    }

    /// Whether it can say a word.
    pub fn knows(&self, word: &str) -> bool {
        self.words.contains_key(word)
    }

    /// Says a text, words with spaces between. No two renderings are alike but for the same
    /// generator.
    ///
    /// # Errors
    /// When it does not know a word.
    pub fn say(&self, text: &str, voice: &Voice, rng: &mut Rng) -> Result<Waveform> {
        let mut words = Vec::new();
        for word in text.split_whitespace() {
            let phones = self.words.get(word).ok_or_else(|| {
                DataError::config("text", format!("`{word}`"), "words with a pronunciation")
            })?;
            words.push(phones.as_slice());
        }
        Ok(Waveform::new(synthesis::render(&words, voice, self.rate, rng), self.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Seed;

    const MAN: Voice = Voice {
        pitch: 110.0,
        melody: 0.1,
        formants: 1.0,
        speed: 1.0,
        breathiness: 0.1,
        jitter: 0.01,
    };

    fn said(word: &str, phones: &str, rate: u32) -> Waveform {
        let words = Pronunciations::from([(word.to_owned(), phones.to_owned())]);
        let synthesizer = Synthesizer::new(&words, rate).unwrap();
        synthesizer.say(word, &MAN, &mut Seed::new(5).rng()).unwrap()
    }

    /// Power within 150 Hz of a frequency, relative to all.
    fn band(wave: &Waveform, frequency: f32) -> f64 {
        let resolution = wave.rate as f32 / wave.samples.len() as f32;
        let bins = (-150.0 / resolution) as i32..(150.0 / resolution) as i32;
        let power = |bin| f64::from(wave.amplitude_at(frequency + bin as f32 * resolution)).powi(2);
        bins.map(power).sum::<f64>() / wave.power()
    }

    #[test]
    fn vowels_have_their_formants() {
        // [iy] has little between 700 and 1500 Hz, where [aa] has both of its formants.
        for rate in [8000, 16_000] {
            let (iy, aa) = (said("e", "iy iy", rate), said("ah", "aa aa", rate));
            let (low, high) =
                ([&aa, &iy].map(|w| band(w, 1090.0)), [&aa, &iy].map(|w| band(w, 2290.0)));
            assert!(low[0] > 8.0 * low[1], "{rate} Hz: {low:?}");
            assert!(high[1] > 3.0 * high[0], "{rate} Hz: {high:?}");
        }
    }

    #[test]
    fn hisses_are_high_and_voices_have_a_pitch() {
        let (s, m) = (said("s", "s s s", 16_000), said("m", "m m m", 16_000));
        assert!(band(&s, 5200.0) > 20.0 * band(&s, 500.0));
        assert!(band(&m, 260.0) > 20.0 * band(&m, 3000.0));
        // The period of a voice: the lag at which a vowel resembles itself most.
        let aa = said("ah", "aa aa aa", 16_000);
        let part = &aa.samples[aa.samples.len() / 2 - 1600..aa.samples.len() / 2 + 1600];
        let like = |lag: usize| {
            part.iter().zip(&part[lag..]).map(|(a, b)| a * b).sum::<f32>() / (3200 - lag) as f32
        };
        let lag = (80..250).max_by(|a, b| like(*a).total_cmp(&like(*b))).unwrap();
        let pitch = 16_000.0 / lag as f32;
        assert!((pitch / 110.0 - 1.0).abs() < 0.2, "{pitch} Hz");
    }

    #[test]
    fn saying_is_a_function_of_the_generator() {
        let synthesizer = Synthesizer::english(8000).unwrap();
        let say = |seed| {
            let voice = Voice::numbered(Seed::new(1), seed);
            synthesizer.say("seven zero nine", &voice, &mut Seed::new(seed).rng()).unwrap()
        };
        assert_eq!(say(1), say(1));
        assert_ne!(say(1), say(2));
        for seed in 0..20 {
            let wave = say(seed);
            assert!((0.8..3.0).contains(&wave.seconds()), "{} s", wave.seconds());
            let peak = wave.samples.iter().fold(0.0f32, |most, s| most.max(s.abs()));
            assert!((0.1..=1.0).contains(&peak), "{peak}");
            assert!(wave.power() > 1e-4);
        }
    }

    #[test]
    fn unknown_words_and_phones_are_named() {
        let synthesizer = Synthesizer::english(8000).unwrap();
        let text = synthesizer.say("seven frogs", &MAN, &mut Seed::new(1).rng()).unwrap_err();
        assert_eq!(text.to_string(), "`text` is `frogs`, expected words with a pronunciation");
        assert!(synthesizer.knows("seven") && !synthesizer.knows("frogs"));
        let words = Pronunciations::from([("x".to_owned(), "k qq".to_owned())]);
        let text = Synthesizer::new(&words, 8000).unwrap_err().to_string();
        assert!(text.starts_with("`words.x` is qq, expected iy, ih"), "{text}");
        assert!(Synthesizer::english(0).is_err());
    }

    #[test]
    fn every_word_of_the_grammars_can_be_said() {
        let synthesizer = Synthesizer::english(8000).unwrap();
        for sentences in [Sentences::English, Sentences::Digits] {
            let grammar = sentences.grammar().unwrap();
            let unknown: Vec<_> =
                grammar.words().into_iter().filter(|word| !synthesizer.knows(word)).collect();
            assert!(unknown.is_empty(), "{unknown:?}");
        }
        let mut heard = HashMap::new();
        for (word, phones) in &synthesizer.words {
            if let Some(other) = heard.insert(phones, word) {
                panic!("`{word}` and `{other}` sound alike");
            }
        }
        assert!(heard.len() > 90, "{} words", heard.len());
        let used: std::collections::BTreeSet<_> = heard.keys().copied().flatten().collect();
        assert!(used.len() > 35, "{} phones", used.len());
    }
}
