//! Members of a tar file, as WebDataset pairs them: by their names up to the first dot.

use super::{Location, Utterance, is_recording, table::describe};
use crate::{DataError, Result, table::read::unreadable};
use std::{collections::HashMap, fs::File, io::Read as _, path::Path};

/// Bytes of a transcript, at most: more is no transcript.
const TRANSCRIPT: u64 = 1 << 20;

/// The recordings of a tar file, in its order. Only headers and transcripts are read.
pub(super) fn members(path: &Path) -> Result<Vec<Utterance>> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => unreadable(path, source),
        _ => DataError::Line {
            path: path.into(),
            line: 1,
            reason: format!("not a readable tar file, or a compressed one: {source}"),
        },
    };
    let mut archive = tar::Archive::new(File::open(path).map_err(failed)?);
    let mut utterances: Vec<Utterance> = Vec::new();
    let mut described: HashMap<String, Vec<(String, Vec<u8>)>> = HashMap::new();
    for entry in archive.entries_with_seek().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().map_err(failed)?.to_string_lossy().into_owned();
        let (key, extension) = split(&name);
        if matches!(extension, "txt" | "json") {
            let (key, extension) = (key.to_owned(), extension.to_owned());
            let mut bytes = Vec::new();
            entry.take(TRANSCRIPT).read_to_end(&mut bytes).map_err(failed)?;
            described.entry(key).or_default().push((extension, bytes));
        } else if is_recording(Path::new(&name)) {
            let (offset, size) = (entry.raw_file_position(), entry.size());
            let key = key.to_owned();
            let audio = Location::Member { shard: path.into(), name, offset, size };
            utterances.push(Utterance { audio, ..Utterance::of_file(key, "") });
        }
    }
    for utterance in &mut utterances {
        for (extension, bytes) in described.remove(&utterance.id).unwrap_or_default() {
            if extension == "json" {
                describe(utterance, &bytes).map_err(|reason| DataError::Line {
                    path: path.join(format!("{}.json", utterance.id)),
                    line: 1,
                    reason,
                })?;
            } else if utterance.text.is_none() {
                utterance.text = Some(String::from_utf8_lossy(&bytes).trim().to_owned());
            }
        }
    }
    Ok(utterances)
}

/// A member's key, up to the first dot of its last part, and what follows the dot.
fn split(name: &str) -> (&str, &str) {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[file..].find('.') {
        Some(dot) => (&name[..file + dot], &name[file + dot + 1..]),
        None => (name, ""),
    }
}
