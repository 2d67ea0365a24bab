//! Generated utterances by index.

use super::{
    babble,
    formant::{Synthesizer, Voice},
    grammar::{Grammar, Sentences},
};
use kiln_datasets::{
    DataError, Result,
    audio::{Augmentation, Augmenter, Clip},
    draw::Draw as _,
};
use kiln_host::{Seed, Size, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Synthetic speech by formant synthesis: sentences, voices and augmentation. Needs nothing but
/// Kiln.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Spoken {
    /// Sampling rate, Hz.
    pub rate: u32,
    /// Which sentences; `vietnamese-medical` has no pronunciations for this generator.
    pub sentences: Sentences,
    /// Utterances; endless without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The number of the first voice: other numbers are other people.
    pub first_voice: u64,
    /// How many voices take turns at random.
    pub voices: u64,
    /// What happens to the recordings.
    pub augmentation: Augmentation,
}

impl Default for Spoken {
    fn default() -> Self {
        Self {
            rate: 8000,
            sentences: Sentences::English,
            size: None,
            first_voice: 0,
            voices: 16,
            augmentation: Augmentation::default(),
        }
    }
}

/// Source of utterances by formant synthesis; each a function of configuration, seed and index.
#[derive(Clone, Debug)]
pub struct SpokenSource {
    config: Spoken,
    seed: Seed,
    grammar: Grammar,
    synthesizer: Synthesizer,
    augmenter: Augmenter,
}

impl Spoken {
    /// Builds the source. Voices are the same for every seed, what they say is not.
    ///
    /// # Errors
    /// When a value cannot be, a file is missing, or a word has no pronunciation.
    pub fn source(&self, seed: Seed) -> Result<SpokenSource> {
        if self.voices == 0 {
            return Err(DataError::config("voices", 0, "at least one"));
        }
        let (grammar, own) = self.sentences.read()?;
        let (_, mut words) = Sentences::English.read()?;
        words.extend(own);
        let synthesizer = Synthesizer::new(&words, self.rate)?;
        if let Some(word) = grammar.words().into_iter().find(|word| !synthesizer.knows(word)) {
            let expected = "words that the grammar's [words] say how to pronounce";
            return Err(DataError::config("sentences", format!("`{word}`"), expected));
        }
        let clean = Augmentation::default().load(self.rate, Vec::new())?;
        let mut source = SpokenSource {
            config: self.clone(),
            seed: seed.part("spoken"),
            grammar,
            synthesizer,
            augmenter: clean,
        };
        let behind = source.clone();
        let voice = |index| behind.example(index).map(|clip| clip.waveform);
        let voices = babble(&self.augmentation).map(voice).collect::<Result<Vec<_>>>()?;
        source.augmenter = self.augmentation.load(self.rate, voices)?;
        Ok(source)
    }
}

impl Source for SpokenSource {
    type Example = Clip;
    type Error = DataError;

    fn size(&self) -> Size {
        self.config.size.map_or(Size::Endless, Size::Known)
    }

    fn example(&self, index: u64) -> Result<Clip> {
        let rng = &mut self.seed.at(index).rng();
        let turn = rng.below(usize::try_from(self.config.voices).unwrap_or(usize::MAX)) as u64;
        let number = self.config.first_voice.saturating_add(turn);
        let voice = Voice::numbered(Seed::new(0), number);
        let text = self.grammar.sentence(rng);
        let waveform = self.synthesizer.say(&text, &voice, rng)?;
        let waveform = self.augmenter.apply(waveform, rng)?;
        let speaker = format!("voice-{number}");
        Ok(Clip {
            waveform,
            text: Some(text),
            id: format!("{speaker}-{index}"),
            speaker: Some(speaker),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_datasets::audio::augment::{Noise, NoiseKind, Telephone};
    use std::collections::HashSet;

    #[test]
    fn an_utterance_is_a_function_of_its_index() {
        let noise = Noise { kinds: NoiseKind::ALL.to_vec(), ..Noise::default() };
        let augmentation = Augmentation {
            noise: Some(noise),
            telephone: Some(Telephone::default()),
            ..Augmentation::default()
        };
        let config =
            Spoken { augmentation, size: Some(50), voices: 5, first_voice: 3, ..Spoken::default() };
        let (one, two) =
            (config.source(Seed::new(1)).unwrap(), config.source(Seed::new(1)).unwrap());
        assert_eq!(one.size(), Size::Known(50));
        assert_eq!(one.example(7).unwrap(), two.example(7).unwrap());
        let clips: Vec<Clip> = (0..50).map(|index| one.example(index).unwrap()).collect();
        let speakers: HashSet<_> = clips.iter().filter_map(|c| c.speaker.as_deref()).collect();
        assert_eq!(
            speakers,
            HashSet::from(["voice-3", "voice-4", "voice-5", "voice-6", "voice-7"])
        );
        assert!(clips.iter().map(|c| &c.text).collect::<HashSet<_>>().len() > 40);
        for clip in &clips {
            assert!(
                clip.waveform.samples.iter().all(|s| s.is_finite()) && clip.waveform.rate == 8000
            );
            assert!((0.4..9.0).contains(&clip.waveform.seconds()), "{}", clip.waveform.seconds());
        }
        assert_ne!(config.source(Seed::new(2)).unwrap().example(7).unwrap(), clips[7]);
    }

    #[test]
    fn a_second_of_speech_takes_milliseconds() {
        let source = Spoken::default().source(Seed::new(4)).unwrap();
        assert_eq!(source.size(), Size::Endless);
        let begin = std::time::Instant::now();
        let seconds: f64 = (0..20).map(|i| source.example(i).unwrap().waveform.seconds()).sum();
        let factor = seconds / begin.elapsed().as_secs_f64();
        eprintln!("{factor:.0} times real time");
        assert!(factor > 20.0, "{factor:.0} times real time");
    }

    #[test]
    fn mistakes_are_named() {
        let text = |config: Spoken| config.source(Seed::new(1)).unwrap_err().to_string();
        assert_eq!(
            text(Spoken { voices: 0, ..Spoken::default() }),
            "`voices` is 0, expected at least one"
        );
        let other = Spoken { sentences: Sentences::VietnameseMedical, ..Spoken::default() };
        assert!(text(other).contains("how to pronounce"));
        assert!(toml::from_str::<Spoken>("rates = 8").is_err());
        let config: Spoken = toml::from_str("sentences = \"digits\"\nsize = 3").unwrap();
        assert_eq!((config.sentences, config.size), (Sentences::Digits, Some(3)));
    }
}
