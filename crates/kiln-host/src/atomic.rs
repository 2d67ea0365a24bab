//! Files that are either there in full or not at all.

use crate::blame::{Blame, Blamed};
use std::{
    fs::File,
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// A file or directory that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// `read`, `write`, `create`.
    pub action: &'static str,
    /// Which one.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl Blamed for FileError {
    /// The user's where a file that was given is not there, or not text.
    fn blame(&self) -> Blame<'_> {
        let given = [io::ErrorKind::NotFound, io::ErrorKind::InvalidData];
        let users = self.action == "read" && given.contains(&self.source.kind());
        if users { Blame::User } else { Blame::Machine }
    }
}

impl FileError {
    /// An error about `path`, for `map_err`.
    pub fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self { action, path, source }
    }
}

/// How the name of what a killed process left half-written ends; it starts with a dot.
pub const LEFTOVER: &str = ".partial";

/// Writes a file beside `path`, flushes it to the disk, and renames it to `path`.
///
/// A reader sees the old file or the new one, never half of it, whenever the process ends.
///
/// # Errors
/// When the directory does not exist, is read-only or full; nothing is left behind then.
pub fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    let mut file = AtomicFile::create(path)?;
    write(&mut file).map_err(FileError::new("write", path))?;
    file.commit()
}

/// The same for what is written little by little: beside its path until [`AtomicFile::commit`];
/// dropped before that, nothing is left of it.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    buffer: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Begins to write what is to become `path`.
    ///
    /// # Errors
    /// When the directory does not exist or is read-only.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{name}.");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(LEFTOVER);
        // Temporary files are private by default; these become ordinary files, subject to the umask.
        #[cfg(unix)]
        let builder = {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666))
        };
        let beside = builder.tempfile_in(parent(path)).map_err(FileError::new("write", path))?;
        Ok(Self { path: path.into(), buffer: BufWriter::with_capacity(1 << 20, beside) })
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// When the disk is full or the directory gone; nothing is left behind then.
    pub fn commit(self) -> Result<(), FileError> {
        let Self { path, buffer } = self;
        let beside = buffer
            .into_inner()
            .map_err(|error| FileError::new("write", &path)(error.into_error()))?;
        beside.as_file().sync_all().map_err(FileError::new("write", &path))?;
        beside.persist(&path).map_err(|error| FileError::new("write", &path)(error.error))?;
        // The rename itself must survive a power cut; not every file system allows syncing a
        // directory.
        if let Ok(directory) = File::open(parent(&path)) {
            let _ = directory.sync_all();
        }
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.buffer.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.buffer.seek(to)
    }
}

/// The directory of a file.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_atomic(&path, |out| out.write_all(b"old")).unwrap();
        let error = write_atomic(&path, |out| {
            out.write_all(b"half")?;
            Err(Error::other("disk full"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("a.txt"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing").join("a.txt");
        let error = write_atomic(&path, |out| out.write_all(b"x")).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
