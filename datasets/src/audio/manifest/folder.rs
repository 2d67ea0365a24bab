//! Corpora whose layout is in their files' names.

use super::{EXTENSIONS, Utterance, is_recording};
use crate::{
    DataError, Result,
    files::{files_under, read_text},
};
use std::path::{Path, PathBuf};

/// Transcripts of the digits.
const DIGITS: [&str; 10] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// All recordings under a folder, with the text beside them.
pub(super) fn sidecars(dir: &Path) -> Result<Vec<Utterance>> {
    let recordings = files_under(dir)?.into_iter().filter(|path| is_recording(path));
    recordings
        .map(|path| {
            let sidecar = path.with_extension("txt");
            let mut utterance = Utterance::of_file(id_of(dir, &path), path);
            if sidecar.exists() {
                let text = read_text(&sidecar)?;
                utterance.text = Some(text.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            Ok(utterance)
        })
        .collect()
}

/// LibriSpeech: lines `speaker-chapter-utterance TEXT`.
pub(super) fn librispeech(dir: &Path) -> Result<Vec<Utterance>> {
    let mut utterances = Vec::new();
    for path in files_under(dir)? {
        if !path.to_string_lossy().ends_with(".trans.txt") {
            continue;
        }
        let folder = path.parent().unwrap_or(dir);
        let text = read_text(&path)?;
        for (place, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let (id, text) = line.trim().split_once(char::is_whitespace).ok_or_else(|| {
                let reason = "expected an utterance id and its transcript".to_owned();
                DataError::Line { path: path.clone(), line: place + 1, reason }
            })?;
            utterances.push(Utterance {
                text: Some(text.trim().to_owned()),
                speaker: id.split_once('-').map(|(speaker, _)| speaker.to_owned()),
                ..Utterance::of_file(id, recording(folder, id))
            });
        }
    }
    Ok(utterances)
}

/// FSDD: `7_jackson_32.wav`. Other files are left alone.
pub(super) fn fsdd(dir: &Path) -> Result<Vec<Utterance>> {
    let utterance = |path: PathBuf| {
        let mut parts = path.file_stem()?.to_str()?.splitn(3, '_');
        let digit = parts.next()?.parse::<usize>().ok()?;
        let (speaker, _take) = (parts.next()?, parts.next()?.parse::<u32>().ok()?);
        Some(Utterance {
            text: Some((*DIGITS.get(digit)?).to_owned()),
            speaker: Some(speaker.to_owned()),
            ..Utterance::of_file(id_of(dir, &path), path.clone())
        })
    };
    Ok(files_under(dir)?
        .into_iter()
        .filter(|path| is_recording(path))
        .filter_map(utterance)
        .collect())
}

/// The recording of this name in whichever format it is there; FLAC where in none.
fn recording(folder: &Path, name: &str) -> PathBuf {
    let file = |extension: &str| folder.join(format!("{name}.{extension}"));
    let there = EXTENSIONS.iter().map(|extension| file(extension)).find(|path| path.exists());
    there.unwrap_or_else(|| file("flac"))
}

/// A file's path from `dir` on, without its extension.
fn id_of(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).with_extension("").to_string_lossy().into_owned()
}
