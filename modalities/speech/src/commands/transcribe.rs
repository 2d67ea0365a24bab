//! `kiln transcribe`: speech recognition of recordings.

use crate::{
    Recogniser, SpeechError,
    decode::{BeamConfig, Decoder, LanguageWeights},
    recipe::MODALITY,
    transcribe::Transcriber,
    transcript::{Format, Segments},
};
use clap::{Parser, ValueEnum, value_parser};
use kiln_metrics::ngram::NgramModel;
use kiln_train::{
    dispatch,
    failure::{Failure, Result},
    recipe::Device,
    verb::{RunVerb, VerbContext, write_file},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

/// Transcribe recordings (speech recognition)
#[derive(Debug, Parser)]
#[command(
    name = "transcribe",
    after_help = "\
Examples:
  kiln transcribe --model runs/digits call.wav
  kiln transcribe --model runs/digits calls/*.mp3 --format srt --out subtitles
  kiln transcribe --model runs/digits call.wav --lm lm.arpa --alpha 0.6 --beta 1.0 --format json

WAV, FLAC, MP3, OGG and M4A of any rate; several channels are mixed. Long recordings are cut at their
pauses. Several recordings go on after one that cannot be read; the exit code is then 2."
)]
pub struct Transcribe {
    /// A run, a model directory, or a hub id (organisation/name[@revision])
    #[arg(long, short)]
    pub model: String,
    /// Recordings
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// What is written
    #[arg(long, short, default_value = "text")]
    pub format: TranscriptFormat,
    /// Write a file a recording into this folder instead of printing
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// A language model in ARPA's format, for a beam search (`kiln data ngram` makes one)
    #[arg(long, value_name = "FILE.arpa")]
    pub lm: Option<PathBuf>,
    /// Only words of this file, white space between them, for a beam search
    #[arg(long, value_name = "FILE")]
    pub lexicon: Option<PathBuf>,
    /// Beam width: prefixes that a beam search keeps [default: 64 with --lm, --lexicon or --nbest]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub beam: Option<u32>,
    /// The weight of the language model
    #[arg(long, requires = "lm")]
    pub alpha: Option<f64>,
    /// The word insertion bonus, against the language model's preference for few words
    #[arg(long, requires = "lm")]
    pub beta: Option<f64>,
    /// Alternative transcripts (n-best) in JSON, for recordings that are not cut
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u32).range(1..))]
    pub nbest: u32,
    /// All recordings are of one speaker and channel: the statistics of cepstral mean normalisation
    /// (`standardise = "speaker"` in recipes) are measured over all of them, not over each by itself
    #[arg(long)]
    pub one_speaker: bool,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}

/// What `kiln transcribe` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TranscriptFormat {
    /// The words
    Text,
    /// Words with times and confidence, segments, other readings
    Json,
    /// SubRip subtitles
    Srt,
    /// WebVTT subtitles
    Vtt,
}

impl RunVerb for Transcribe {
    /// Transcribes each recording, prints it or writes it where asked.
    fn run(&self, context: &mut VerbContext<'_>) -> Result<()> {
        let several = self.files.len() > 1;
        if several && self.out.is_none() && self.format != TranscriptFormat::Text {
            return Err(Failure::user(
                "several recordings would be printed one behind the other",
                "name a folder for them with `--out`, or take `--format text`",
            ));
        }
        let transcriber = open(self, context)?;
        let format = match self.format {
            TranscriptFormat::Text => Format::Text,
            TranscriptFormat::Json => Format::Json,
            TranscriptFormat::Srt => Format::Srt,
            TranscriptFormat::Vtt => Format::Vtt,
        };
        if let Some(folder) = &self.out {
            std::fs::create_dir_all(folder)
                .map_err(|error| Failure::io("create", folder, error))?;
        }
        let mut names = BTreeSet::new();
        let (mut failed, mut seconds) = (Vec::new(), 0.0);
        let started = Instant::now();
        for path in &self.files {
            let bar = context.bar(path.display().to_string(), "s");
            let found = transcriber.file(path, |done, of| {
                bar.set_length(of.unwrap_or(done).ceil() as u64);
                bar.set_position(done as u64);
            });
            bar.finish_and_clear();
            let transcribed = match found {
                Ok(transcribed) => transcribed,
                Err(error) if several => {
                    tracing::error!("{error}");
                    failed.push(path);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            seconds += transcribed.seconds;
            let text = format.render(&transcribed.transcript, &Segments::default());
            match &self.out {
                Some(folder) => {
                    let path = file_in(folder, path, format.extension(), &mut names);
                    write_file(&path, &text)?;
                    tracing::info!("wrote {}", path.display());
                }
                None if several => {
                    writeln!(context.out, "{}\t{}", path.display(), transcribed.transcript.text())?;
                }
                None => writeln!(context.out, "{}", text.trim_end())?,
            }
            context.out.flush()?;
        }
        let spent = started.elapsed().as_secs_f64();
        tracing::info!("{seconds:.1} s of sound in {spent:.1} s");
        match failed.first() {
            None => Ok(()),
            Some(first) => Err(Failure::user(
                format!(
                    "{} of {} recordings could not be transcribed, the first is {}",
                    failed.len(),
                    self.files.len(),
                    first.display()
                ),
                "the reason for each is above",
            )),
        }
    }
}

fn open(args: &Transcribe, context: &VerbContext<'_>) -> Result<Transcriber> {
    let model = context.model(&args.model, MODALITY, "is not a speech model", "speech")?;
    let recogniser =
        Recogniser::open(&model.path, dispatch::available(args.device)?).map_err(Failure::Error)?;
    let searches = args.lm.is_some() || args.lexicon.is_some() || args.nbest > 1;
    let decoder =
        if searches || args.beam.is_some() { Some(decoder(args, &recogniser)?) } else { None };
    let mut transcriber = Transcriber {
        recogniser,
        decoder,
        segmentation: kiln_datasets::audio::Segmentation::default(),
        alternatives: args.nbest > 1,
        cmvn: None,
    };
    if args.one_speaker {
        let files = args.files.iter().map(PathBuf::as_path);
        transcriber.measure_speaker(files).map_err(Failure::Error)?;
    }
    Ok(transcriber)
}

fn decoder(args: &Transcribe, recogniser: &Recogniser) -> Result<Decoder> {
    let defaults = BeamConfig::default();
    let config = BeamConfig {
        width: args.beam.map_or(defaults.width, |width| width as usize),
        nbest: args.nbest as usize,
        ..defaults
    };
    let mut decoder = Decoder::new(recogniser.vocabulary.clone(), config)?;
    if let Some(path) = &args.lm {
        let defaults = LanguageWeights::default();
        let weights = LanguageWeights {
            alpha: args.alpha.unwrap_or(defaults.alpha),
            beta: args.beta.unwrap_or(defaults.beta),
            ..defaults
        };
        let model = Arc::new(NgramModel::read_arpa(path).map_err(SpeechError::from)?);
        decoder = decoder.with_language_model(model, weights)?;
    }
    if let Some(path) = &args.lexicon {
        let words =
            std::fs::read_to_string(path).map_err(|error| Failure::io("read", path, error))?;
        decoder = decoder.with_lexicon(words.split_whitespace())?;
    }
    Ok(decoder)
}

/// A file for a transcript; recordings of the same name in several folders get a number.
fn file_in(
    folder: &Path,
    recording: &Path,
    extension: &str,
    names: &mut BTreeSet<String>,
) -> PathBuf {
    let stem = recording.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut name = stem.clone();
    let mut number = 2;
    while !names.insert(name.clone()) {
        name = format!("{stem}-{number}");
        number += 1;
    }
    folder.join(format!("{name}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_of_one_name_have_files_of_their_own() {
        let mut names = BTreeSet::new();
        let mut file = |path: &str| file_in(Path::new("out"), Path::new(path), "srt", &mut names);
        assert_eq!(file("a/call.wav"), Path::new("out/call.srt"));
        assert_eq!(file("b/call.wav"), Path::new("out/call-2.srt"));
    }
}
