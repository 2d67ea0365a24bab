//! Speech through `espeak-ng` (<https://github.com/espeak-ng/espeak-ng>), a program that is not
//! part of Kiln.
//!
//! Synthesized utterances are cached in a folder, so that the second epoch costs reading a file.

use super::{
    babble,
    grammar::{Grammar, Sentences},
};
use kiln_datasets::{
    DataError, Result,
    audio::{self, Augmentation, Augmenter, Clip, Waveform},
    draw::Draw as _,
};
use kiln_host::{Seed, Size, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    io::{Read, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

/// Synthetic speech by `espeak-ng`: sentences, voices and augmentation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Espeak {
    /// The program.
    pub program: PathBuf,
    /// Sampling rate, Hz.
    pub rate: u32,
    /// Which sentences.
    pub sentences: Sentences,
    /// Utterances.
    pub size: u64,
    /// The number of the first utterance: test sets begin where training sets end.
    pub first: u64,
    /// Languages and dialects, as `espeak-ng --voices` lists them.
    pub voices: Vec<String>,
    /// Speakers, as the folder `!v` of its data has them; an empty name is the voice's own.
    pub variants: Vec<String>,
    /// Lowest and highest pitch, 0 to 99.
    pub pitch: [u32; 2],
    /// Slowest and fastest, words a minute, 80 to 450.
    pub speed: [u32; 2],
    /// Folder of the cache of utterances.
    pub cache: PathBuf,
    /// Longest that it may take for an utterance, s.
    pub timeout: f64,
    /// What happens to the recordings.
    pub augmentation: Augmentation,
}

impl Default for Espeak {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Self {
            program: "espeak-ng".into(),
            rate: 8000,
            sentences: Sentences::VietnameseMedical,
            size: 2000,
            first: 0,
            voices: names(&["vi", "vi-vn-x-central", "vi-vn-x-south"]),
            variants: names(&["", "m1", "m3", "m5", "m7", "f1", "f2", "f3", "f5"]),
            pitch: [25, 75],
            speed: [130, 200],
            cache: "runs/espeak".into(),
            timeout: 20.0,
            augmentation: Augmentation::default(),
        }
    }
}

/// Manner of speaking.
#[derive(Clone, Debug, PartialEq)]
pub struct Manner {
    /// A voice with or without a variant: `vi`, `vi+f2`.
    pub voice: String,
    /// 0 to 99.
    pub pitch: u32,
    /// Words a minute.
    pub speed: u32,
    /// Loudness, 0 to 200.
    pub amplitude: u32,
}

/// Source of utterances synthesized by `espeak-ng`; each a function of configuration, seed and
/// index.
#[derive(Clone, Debug)]
pub struct EspeakSource {
    config: Espeak,
    seed: Seed,
    grammar: Grammar,
    augmenter: Augmenter,
}

impl Espeak {
    /// Builds the source; tries every voice once.
    ///
    /// # Errors
    /// When the program is not there or lacks a voice, or a value cannot be.
    pub fn source(&self, seed: Seed) -> Result<EspeakSource> {
        self.validate()?;
        std::fs::create_dir_all(&self.cache)
            .map_err(|source| DataError::Write { path: self.cache.clone(), source })?;
        let grammar = self.sentences.grammar()?;
        for voice in &self.voices {
            for variant in &self.variants {
                let voice = joined(voice, variant);
                self.say("a", &Manner { voice, pitch: 50, speed: 160, amplitude: 100 })?;
            }
        }
        let clean = Augmentation::default().load(self.rate, Vec::new())?;
        let mut source = EspeakSource {
            config: self.clone(),
            seed: seed.part("espeak"),
            grammar,
            augmenter: clean,
        };
        let voices = babble(&self.augmentation)
            .map(|index| source.numbered(index).map(|clip| clip.waveform))
            .collect::<Result<Vec<_>>>()?;
        source.augmenter = self.augmentation.load(self.rate, voices)?;
        Ok(source)
    }

    fn validate(&self) -> Result<()> {
        for (key, list) in [("voices", &self.voices), ("variants", &self.variants)] {
            if list.is_empty() {
                return Err(DataError::config(key, "empty", "at least one"));
            }
        }
        for (key, [low, high], range) in
            [("pitch", self.pitch, 0..=99), ("speed", self.speed, 80..=450)]
        {
            if low > high || !range.contains(&low) || !range.contains(&high) {
                let expected = format!("within {} to {}", range.start(), range.end());
                return Err(DataError::config(key, format!("{low} to {high}"), expected));
            }
        }
        if !(self.timeout > 0.0 && self.timeout <= 3600.0) {
            return Err(DataError::config("timeout", self.timeout, "more than 0 s, at most 3600"));
        }
        Ok(())
    }

    /// Synthesizes a text, at the program's own rate; from the cache where it is there.
    ///
    /// # Errors
    /// When the program is not there, fails, takes too long, or gives no sound.
    pub fn say(&self, text: &str, manner: &Manner) -> Result<Waveform> {
        let Manner { voice, pitch, speed, amplitude } = manner;
        let key = Seed::new(0).part(&format!("{voice} {pitch} {speed} {amplitude} {text}")).value();
        let path = self.cache.join(format!("{key:016x}.wav"));
        if path.exists()
            && let Ok(reader) = audio::AudioReader::open(&path)
            && let Ok(waveform) = reader.rest()
        {
            return Ok(waveform);
        }
        let bytes = self.run(text, manner)?;
        let waveform =
            audio::AudioReader::from_bytes(&self.program.join("output.wav"), bytes)?.rest()?;
        waveform.write_wav(&path)?;
        Ok(waveform)
    }

    /// Runs the program: text in, a WAV file out.
    fn run(&self, text: &str, manner: &Manner) -> Result<Vec<u8>> {
        let spawned = Command::new(&self.program)
            .args(["--stdin", "--stdout", "-b", "1", "-v", &manner.voice])
            .args(["-p", &manner.pitch.to_string(), "-s", &manner.speed.to_string()])
            .args(["-a", &manner.amplitude.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => self.fail(
                "there is no such program here; install it (Debian, Ubuntu: apt install espeak-ng)",
            ),
            _ => self.fail(error),
        })?;
        let outcome = self.exchange(&mut child, text);
        if outcome.is_err() {
            // Whatever it was doing, it is of no more use; it may also be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
        outcome
    }

    fn exchange(&self, child: &mut Child, text: &str) -> Result<Vec<u8>> {
        let begin = Instant::now();
        let limit = Duration::from_secs_f64(self.timeout);
        let late = || self.fail(format!("it took more than {} s for `{text}`", self.timeout));
        let output = child.stdout.take().map(gather);
        let complaint = child.stderr.take().map(gather);
        if let Some(mut input) = child.stdin.take() {
            let text = text.to_owned();
            // In a thread of its own: a program that does not read would stop us.
            std::thread::spawn(move || input.write_all(text.as_bytes()));
        }
        let bytes = match output.map(|output| output.recv_timeout(limit)) {
            Some(Ok(bytes)) => bytes,
            Some(Err(RecvTimeoutError::Timeout)) => return Err(late()),
            _ => return Err(self.fail("its output cannot be read")),
        };
        let status = loop {
            match child.try_wait().map_err(|error| self.fail(error))? {
                Some(status) => break status,
                None if begin.elapsed() > limit => return Err(late()),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        if !status.success() || bytes.is_empty() {
            let complaint = complaint.and_then(|c| c.recv_timeout(Duration::from_secs(1)).ok());
            let complaint =
                String::from_utf8_lossy(&complaint.unwrap_or_default()).trim().to_owned();
            let complaint = complaint.lines().next().unwrap_or_default().to_owned();
            return Err(self.fail(format!("{status}, {} bytes of sound; {complaint}", bytes.len())));
        }
        Ok(bytes)
    }

    fn fail(&self, reason: impl ToString) -> DataError {
        let program = self.program.display().to_string();
        DataError::Program { program, reason: reason.to_string() }
    }
}

impl EspeakSource {
    /// The utterance of a number; those behind the last are for babble.
    fn numbered(&self, number: u64) -> Result<Clip> {
        let config = &self.config;
        let rng = &mut self.seed.at(number).rng();
        let name = |list: &[String], place: usize| list.get(place).cloned().unwrap_or_default();
        let voice = name(&config.voices, rng.below(config.voices.len()));
        let speaker = joined(&voice, &name(&config.variants, rng.below(config.variants.len())));
        let mut draw = |[low, high]: [u32; 2]| low + rng.below((high - low + 1) as usize) as u32;
        let (pitch, speed, amplitude) = (draw(config.pitch), draw(config.speed), draw([60, 130]));
        let text = self.grammar.sentence(rng);
        let manner = Manner { voice: speaker.clone(), pitch, speed, amplitude };
        let waveform = config.say(&text, &manner)?.resampled(config.rate)?;
        let waveform = self.augmenter.apply(waveform, rng)?;
        Ok(Clip {
            waveform,
            text: Some(text),
            id: format!("{speaker}-{number}"),
            speaker: Some(speaker),
        })
    }
}

impl Source for EspeakSource {
    type Example = Clip;
    type Error = DataError;

    fn size(&self) -> Size {
        Size::Known(self.config.size)
    }

    fn example(&self, index: u64) -> Result<Clip> {
        self.numbered(self.config.first.saturating_add(index))
    }
}

fn joined(voice: &str, variant: &str) -> String {
    if variant.is_empty() { voice.to_owned() } else { format!("{voice}+{variant}") }
}

/// Reads to the end, in a thread of its own.
fn gather(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is judged by its contents.
        let _ = stream.read_to_end(&mut bytes);
        sender.send(bytes)
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_datasets::audio::augment::{Noise, Telephone};
    use std::path::Path;

    fn config(cache: &Path) -> Espeak {
        Espeak { cache: cache.join("said"), ..Espeak::default() }
    }

    /// Whether a program can be started here.
    fn is_installed(program: &Path) -> bool {
        let quiet = || Stdio::null();
        let run = Command::new(program)
            .arg("--version")
            .stdin(quiet())
            .stdout(quiet())
            .stderr(quiet())
            .status();
        run.is_ok_and(|status| status.success())
    }

    /// The program, or a note that it is not here.
    fn installed() -> bool {
        let there = is_installed(Path::new("espeak-ng"));
        if !there {
            eprintln!("skipped: espeak-ng is not installed");
        }
        there
    }

    #[test]
    fn vietnamese_is_said_and_kept() {
        if !installed() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let augmentation = Augmentation {
            noise: Some(Noise::default()),
            telephone: Some(Telephone::default()),
            ..Augmentation::default()
        };
        let config = Espeak { augmentation, size: 5, first: 10, ..config(dir.path()) };
        let source = config.source(Seed::new(1)).unwrap();
        assert_eq!(source.size(), Size::Known(5));
        let first: Vec<Clip> = (0..5).map(|index| source.example(index).unwrap()).collect();
        for clip in &first {
            assert!((0.5..15.0).contains(&clip.waveform.seconds()), "{}", clip.waveform.seconds());
            assert!(clip.waveform.power() > 1e-5 && clip.waveform.rate == 8000);
            assert!(clip.speaker.as_deref().is_some_and(|speaker| speaker.starts_with("vi")));
        }
        let kept = std::fs::read_dir(&config.cache).unwrap().count();
        assert!(kept >= 5 + 27 - 2, "{kept} files");
        // The second time it is read, not said: another program would not be asked.
        let gone = EspeakSource { config: Espeak { program: "gone".into(), ..config }, ..source };
        assert_eq!(gone.example(3).unwrap(), first[3]);
    }

    #[test]
    fn what_fails_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let absent = Espeak { program: "espeak-of-nobody".into(), ..config(dir.path()) };
        let text = absent.source(Seed::new(1)).unwrap_err().to_string();
        assert!(text.contains("no such program here; install it"), "{text}");
        let text = |config: Espeak| config.source(Seed::new(1)).unwrap_err().to_string();
        let slow = Espeak { speed: [10, 20], ..config(dir.path()) };
        assert_eq!(text(slow), "`speed` is 10 to 20, expected within 80 to 450");
        assert!(
            text(Espeak { voices: vec![], ..config(dir.path()) }).contains("`voices` is empty")
        );
        assert!(!is_installed(Path::new("espeak-of-nobody")));
        if installed() {
            let klingon = Espeak { voices: vec!["xx-nobody".into()], ..config(dir.path()) };
            let text = klingon.source(Seed::new(1)).unwrap_err().to_string();
            assert!(text.contains("espeak-ng: exit status"), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn programs_that_hang_or_talk_nonsense() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let script = |name: &str, body: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            Espeak { program: path, timeout: 0.3, ..config(dir.path()) }
        };
        let hangs = script("hangs", "exec sleep 20");
        let talks = script("talks", "echo hello");
        let dies = script("dies", "echo no voice >&2; exit 3");
        // A child that another test has just forked may hold the scripts open for a moment.
        std::thread::sleep(Duration::from_millis(50));
        let text = |config: Espeak| config.source(Seed::new(1)).unwrap_err().to_string();
        let begin = Instant::now();
        assert!(text(hangs).contains("it took more than 0.3 s for `a`"));
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert!(text(talks).contains("not a recording"));
        assert!(text(dies).contains("3, 0 bytes of sound; no voice"));
    }
}
