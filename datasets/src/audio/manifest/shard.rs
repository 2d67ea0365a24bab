//! Members of a tar file, as WebDataset pairs them: by their names up to the first dot.

use super::{Location, Utterance, is_recording, table::describe};
use crate::{
    DataError, Result,
    files::{Member, each_member},
};
use std::{collections::HashMap, io::Read as _, path::Path};

/// Bytes of a transcript, at most: more is no transcript.
const TRANSCRIPT: u64 = 1 << 20;

/// The recordings of a tar file, in its order. Only headers and transcripts are read.
pub(super) fn members(path: &Path) -> Result<Vec<Utterance>> {
    let mut utterances: Vec<Utterance> = Vec::new();
    let mut described: HashMap<String, Vec<(String, Vec<u8>)>> = HashMap::new();
    each_member(path, |member, content| {
        let (key, extension) = member.key();
        let key = key.to_owned();
        if matches!(extension, "txt" | "json") {
            let mut bytes = Vec::new();
            content.take(TRANSCRIPT).read_to_end(&mut bytes)?;
            described.entry(key).or_default().push((extension.to_owned(), bytes));
        } else if is_recording(Path::new(&member.name)) {
            let Member { name, offset, size } = member;
            let audio = Location::Member { shard: path.into(), name, offset, size };
            utterances.push(Utterance { audio, ..Utterance::of_file(key, "") });
        }
        Ok(())
    })?;
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
