//! Tar shards of text: `a.txt` and `a.json` are one document.

use super::{
    RECORD,
    json::{object, record, value_of},
    plain::{Lines, Plain, Stop, plain_record},
    record::{Context, Record},
};
use crate::{
    DataError, Result,
    files::{Member, each_member, unreadable},
};
use std::{collections::BTreeMap, path::Path};

/// What is asked of a shard.
const EXPECTED: &str = "members that end in .txt or .json";

/// The documents of a tar file.
#[derive(Debug)]
pub(super) struct Shard {
    entries: std::vec::IntoIter<Entry>,
    /// The text that is being read, and its metadata.
    text: Option<(Plain, BTreeMap<String, String>)>,
}

/// The members of one key.
#[derive(Debug)]
struct Entry {
    key: String,
    text: Option<Member>,
    json: Option<Member>,
}

impl Shard {
    /// The documents `start..end`.
    pub fn open(path: &Path, start: u64, end: u64) -> Result<Self> {
        let mut entries = entries(path)?;
        entries.truncate(usize::try_from(end).unwrap_or(usize::MAX));
        entries.drain(..usize::try_from(start).unwrap_or(usize::MAX).min(entries.len()));
        Ok(Self { entries: entries.into_iter(), text: None })
    }

    pub fn next(&mut self, context: &mut Context) -> Result<Option<Record>> {
        loop {
            if let Some((plain, metadata)) = &mut self.text {
                if let Some(mut record) = plain_record(plain, context)? {
                    record.metadata.clone_from(metadata);
                    return Ok(Some(record));
                }
                self.text = None;
            }
            let Some(entry) = self.entries.next() else { return Ok(None) };
            let json = match &entry.json {
                Some(member) => {
                    let bytes = bytes(&context.path, member)?;
                    context.decode(bytes, member.offset)?.map(|json| (json, member.offset))
                }
                None => None,
            };
            match (entry.text, json) {
                (Some(member), json) => {
                    let metadata = match json {
                        Some((json, offset)) => {
                            let object = object(&json, offset, context)?;
                            context.metadata(|name| value_of(object.get(name)?))
                        }
                        None => BTreeMap::new(),
                    };
                    let lines = Lines::of_bytes(&context.path, member.offset, member.size)
                        .map_err(|source| unreadable(&context.path, source))?;
                    self.text = Some((Plain::new(lines, context.spec.split), metadata));
                }
                (None, Some((json, offset))) => return record(&json, offset, context).map(Some),
                (None, None) => {}
            }
        }
    }
}

/// Documents put together to about `bytes` each: the first, the one behind the last.
pub(super) fn slices(path: &Path, bytes: u64) -> Result<Vec<(u64, u64)>> {
    let size = |member: &Option<Member>| member.as_ref().map_or(0, |member| member.size);
    let (mut slices, mut begin, mut held) = (Vec::new(), 0, 0);
    let entries = entries(path)?;
    for (place, entry) in (1..).zip(&entries) {
        held += size(&entry.text) + size(&entry.json);
        if held >= bytes || place == entries.len() as u64 {
            slices.push((begin, place));
            (begin, held) = (place, 0);
        }
    }
    Ok(slices)
}

/// The documents in the order of their first members. Members of one key follow one another.
fn entries(path: &Path) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    each_member(path, |member, _| {
        let (key, extension) = member.key();
        if !matches!(extension, "txt" | "json") {
            return Ok(());
        }
        if entries.last().is_none_or(|entry| entry.key != key) {
            entries.push(Entry { key: key.to_owned(), text: None, json: None });
        }
        let is_text = extension == "txt";
        if let Some(entry) = entries.last_mut() {
            *(if is_text { &mut entry.text } else { &mut entry.json }) = Some(member);
        }
        Ok(())
    })?;
    if entries.is_empty() {
        return Err(DataError::NoDocuments { path: path.into(), expected: EXPECTED });
    }
    Ok(entries)
}

/// All of a member, which must not be longer than a record may be.
fn bytes(path: &Path, member: &Member) -> Result<Vec<u8>> {
    let failed = |source| unreadable(path, source);
    let mut lines = Lines::of_bytes(path, member.offset, member.size).map_err(failed)?;
    let mut bytes = Vec::new();
    while lines.read_line(RECORD - bytes.len(), &mut bytes).map_err(failed)? == Stop::Line
        && bytes.len() < RECORD
    {}
    if member.size > RECORD as u64 {
        let reason = format!("`{}` is longer than {} MiB", member.name, RECORD >> 20);
        return Err(DataError::Line { path: path.into(), line: 1, reason });
    }
    Ok(bytes)
}
