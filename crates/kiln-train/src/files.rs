//! Files that are there entirely or not at all.
//!
//! What is written stands beside its place under a name that starts with a dot, is forced to disk,
//! and is then renamed; a crash leaves the old state and perhaps a leftover, never half a file. A
//! directory cannot be renamed over another: the old one steps aside, and [`clean`] brings it back
//! where a crash came before the new one was in its place.

use crate::{Error, Result};
use kiln_host::{LEFTOVER, write_atomic};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

/// How the name of a directory ends that has stepped aside.
const ASIDE: &str = ".old.partial";

/// Turns an [`std::io::Error`] into ours.
pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// Creates a directory and its parents.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(io("create", path))
}

/// Removes a file or directory, if there is one.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.map_err(io("remove", path))
}

/// Replaces a file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = write_atomic(path, |out| out.write_all(bytes));
    written.map_err(|error| io(error.action, &error.path)(error.source))
}

/// Reads a file of JSON.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(io("read", path))?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::Damaged { path: path.to_owned(), problem: error.to_string() })
}

/// Replaces a file of JSON; `what` is written there, for messages.
pub(crate) fn write_json(path: &Path, what: &'static str, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(|source| Error::Json { what, source })?;
    write(path, &text)
}

/// A file of JSON, one object a line, that lines are appended to.
#[derive(Debug)]
pub(crate) struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// Opens a file to go on with it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { file: file.map_err(io("write", path))?, path: path.to_owned() })
    }

    /// Appends a line; `what` it is, for messages.
    pub(crate) fn append(&mut self, what: &'static str, line: &impl Serialize) -> Result<()> {
        let mut text =
            serde_json::to_string(line).map_err(|source| Error::Json { what, source })?;
        text.push('\n');
        // In one call, so that lines are whole even if the process is killed.
        self.file.write_all(text.as_bytes()).map_err(io("write", &self.path))
    }
}

/// Replaces a directory by what `fill` puts into an empty one.
pub(crate) fn replace_dir(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (partial, old) = (hidden(path, LEFTOVER), hidden(path, ASIDE));
    settle(&old, path)?;
    remove(&partial)?;
    create_dir(&partial)?;
    let filled = fill(&partial).and_then(|()| sync_tree(&partial));
    if let Err(error) = filled {
        // A full disk is likelier to have room for the next attempt without this.
        let _ = fs::remove_dir_all(&partial);
        return Err(error);
    }
    if exists(path) {
        fs::rename(path, &old).map_err(io("write", path))?;
    }
    if let Err(source) = fs::rename(&partial, path) {
        let _ = fs::remove_dir_all(&partial);
        settle(&old, path)?;
        return Err(io("write", path)(source));
    }
    sync_parent(path)?;
    remove(&old)
}

/// Removes what a killed process left half-written in a directory, and brings back what had stepped
/// aside for something that never came.
pub(crate) fn clean(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(io("read", dir))? {
        let entry = entry.map_err(io("read", dir))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_leftover(name)) else { continue };
        match name.strip_prefix('.').and_then(|name| name.strip_suffix(ASIDE)) {
            Some(place) => settle(&entry.path(), &dir.join(place))?,
            None => remove(&entry.path())?,
        }
    }
    Ok(())
}

/// Ends what a crash interrupted: the old directory goes back to its place, or away where the new
/// one has it.
fn settle(old: &Path, place: &Path) -> Result<()> {
    if exists(old) && !exists(place) {
        fs::rename(old, place).map_err(io("write", place))?;
        return sync_parent(place);
    }
    remove(old)
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Every file below a directory, relative to it, in order.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inner) = open.pop() {
        let full = dir.join(&inner);
        for entry in fs::read_dir(&full).map_err(io("read", &full))? {
            let entry = entry.map_err(io("read", &full))?;
            let name = inner.join(entry.file_name());
            match entry.file_type().map_err(io("read", &full))?.is_dir() {
                true => open.push(name),
                false => found.push(name),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The length and the SHA-256, in hexadecimal, of a file.
pub(crate) fn digest(path: &Path) -> Result<(u64, String)> {
    use sha2::Digest as _;
    let mut file = File::open(path).map_err(io("read", path))?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer).map_err(io("read", path))?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hasher.update(bytes);
        length += read as u64;
    }
    let hex = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((length, hex))
}

/// Whether a name is that of a leftover of a killed run.
pub(crate) fn is_leftover(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(LEFTOVER)
}

/// Beside a path, under a name that starts with a dot.
fn hidden(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{ending}"))
}

/// Forces a directory and all in it to disk, the names in the directories below it too.
fn sync_tree(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(io("read", dir))? {
        let entry = entry.map_err(io("read", dir))?;
        let path = entry.path();
        if entry.file_type().map_err(io("read", &path))?.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(io("write", &path))?;
        }
    }
    sync_dir(dir)
}

fn sync_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), sync_dir)
}

/// Forces the names in a directory to disk; Windows has no such thing.
fn sync_dir(dir: &Path) -> Result<()> {
    if cfg!(unix) {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("write", dir))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_state() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        replace_dir(&target, |dir| write(&dir.join("a"), b"old")).unwrap();
        let failed = replace_dir(&target, |dir| {
            write(&dir.join("a"), b"new")?;
            Err(Error::NoExamples)
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(target.join("a")).unwrap(), b"old");
        assert_eq!(list(dir.path()).unwrap(), [PathBuf::from("model/a")], "no leftovers");
        replace_dir(&target, |dir| write(&dir.join("b"), b"new")).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [PathBuf::from("model/b")]);
    }

    #[test]
    fn what_a_crash_leaves_is_brought_back_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        let put = |name: &str, text: &str| {
            let dir = dir.path().join(name);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("a"), text).unwrap();
        };
        // Between the two renames, and after both.
        for (place, expected) in [(None, "old"), (Some("new"), "new")] {
            put(".model.old.partial", "old");
            put(".model.partial", "new");
            if let Some(text) = place {
                put("model", text);
            }
            // What a writer of files leaves.
            fs::write(dir.path().join(".run.json.Ab3.partial"), "{").unwrap();
            clean(dir.path()).unwrap();
            assert_eq!(list(dir.path()).unwrap(), [PathBuf::from("model/a")]);
            assert_eq!(fs::read_to_string(target.join("a")).unwrap(), expected);
            remove(&target).unwrap();
        }
        // Who replaces without cleaning up does not lose it either.
        put(".model.old.partial", "old");
        let failed = replace_dir(&target, |_| Err(Error::NoExamples));
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "old");
    }

    #[test]
    fn the_names_of_half_written_files_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let file = kiln_host::AtomicFile::create(&dir.path().join("a.json")).unwrap();
        let entry = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap();
        assert!(is_leftover(entry.file_name().to_str().unwrap()));
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn digests_are_sha256() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        write(&path, b"abc").unwrap();
        let (length, hex) = digest(&path).unwrap();
        assert_eq!(length, 3);
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = write(&dir.path().join("file/below"), b"").unwrap_err().to_string();
        assert!(error.starts_with("cannot write ") && error.ends_with("below"), "{error}");
        assert!(is_leftover(".step-3.partial") && !is_leftover("step-3"));
    }
}
