//! `kiln transcribe`: what is said in recordings.

use super::write_file;
use crate::{
    cli::{Transcribe, TranscriptFormat},
    failure::{Failure, Result},
    modalities, models,
};
use indicatif::{ProgressBar, ProgressStyle};
use kiln_metrics::ngram::NgramModel;
use kiln_speech::{
    Recogniser, SPEECH, SpeechError,
    decode::{BeamConfig, Decoder, LanguageWeights},
    transcribe::Transcriber,
    transcript::{Format, Segments},
};
use kiln_train::modality::Modality as _;
use std::{
    collections::BTreeSet,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

/// Transcribes each recording, prints it or writes it where asked.
pub fn run(args: &Transcribe, quiet: bool, out: &mut dyn Write) -> Result<()> {
    let several = args.files.len() > 1;
    if several && args.out.is_none() && args.format != TranscriptFormat::Text {
        return Err(Failure::user(
            "several recordings would be printed one behind the other",
            "name a folder for them with `--out`, or take `--format text`",
        ));
    }
    let transcriber = open(args)?;
    let format = match args.format {
        TranscriptFormat::Text => Format::Text,
        TranscriptFormat::Json => Format::Json,
        TranscriptFormat::Srt => Format::Srt,
        TranscriptFormat::Vtt => Format::Vtt,
    };
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).map_err(|error| Failure::io("create", folder, error))?;
    }
    let mut names = BTreeSet::new();
    let (mut failed, mut seconds) = (Vec::new(), 0.0);
    let started = Instant::now();
    for path in &args.files {
        let bar = progress(path, quiet);
        let found = transcriber.file(path, |heard, of| {
            bar.set_length(of.unwrap_or(heard).ceil() as u64);
            bar.set_position(heard as u64);
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
        match &args.out {
            Some(folder) => {
                let path = file_in(folder, path, format.extension(), &mut names);
                write_file(&path, &text)?;
                tracing::info!("wrote {}", path.display());
            }
            None if several => {
                writeln!(out, "{}\t{}", path.display(), transcribed.transcript.text())?;
            }
            None => writeln!(out, "{}", text.trim_end())?,
        }
        out.flush()?;
    }
    let spent = started.elapsed().as_secs_f64();
    tracing::info!("{seconds:.1} s of sound in {spent:.1} s");
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(Failure::user(
            format!(
                "{} of {} recordings could not be transcribed, the first is {}",
                failed.len(),
                args.files.len(),
                first.display()
            ),
            "the reason for each is above",
        )),
    }
}

fn open(args: &Transcribe) -> Result<Transcriber> {
    let model = models::find(&args.model)?;
    let modality = models::owner(&model)?;
    if modality.name() != SPEECH.name() {
        return Err(Failure::user(
            format!("{} hears nothing: it is for {}", model.path.display(), modality.name()),
            "name a model that was trained on speech",
        ));
    }
    let recogniser = Recogniser::open(&model.path, modalities::device(args.device)?)
        .map_err(kiln_train::Error::from)?;
    let searches = args.lm.is_some() || args.lexicon.is_some() || args.nbest > 1;
    let decoder =
        if searches || args.beam.is_some() { Some(decoder(args, &recogniser)?) } else { None };
    let mut transcriber = Transcriber {
        recogniser,
        decoder,
        segmentation: kiln_datasets::audio::Segmentation::default(),
        alternatives: args.nbest > 1,
        level: None,
    };
    if args.one_speaker {
        let files = args.files.iter().map(PathBuf::as_path);
        transcriber.listen(files).map_err(kiln_train::Error::from)?;
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

fn progress(path: &Path, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0).with_message(path.display().to_string());
    match ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} s, {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
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
