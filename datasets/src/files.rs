//! Files: where they are, what is in them, members of tar files.

use crate::{DataError, Result, error::nearest, text};
use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::{Component, Path, PathBuf},
};

/// The file of a relative path: in the working directory, or in the folder of data sets that the
/// environment variable `KILN_DATA` names (`../shared/data` where it names none).
///
/// # Errors
/// When it is in neither.
pub fn locate(path: &Path) -> Result<PathBuf> {
    if path.is_absolute() || path.exists() {
        return Ok(path.to_owned());
    }
    let folder = data_folder();
    let inside = folder.join(path);
    if inside.exists() {
        return Ok(inside);
    }
    Err(DataError::NotInFolder { path: path.to_owned(), folder })
}

/// The folder of data sets.
pub(crate) fn data_folder() -> PathBuf {
    std::env::var_os("KILN_DATA").map_or_else(|| "../shared/data".into(), PathBuf::from)
}

/// The bytes of a file, or why there are none.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| unreadable(path, source))
}

/// Why a file cannot be read; one that is missing is compared with those beside it.
pub(crate) fn unreadable(path: &Path, source: std::io::Error) -> DataError {
    if source.kind() == ErrorKind::NotFound {
        DataError::NotFound { path: path.into(), nearest: sibling(path) }
    } else {
        DataError::Io { path: path.into(), source }
    }
}

/// A file beside `path` with a similar name.
fn sibling(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names: Vec<String> = std::fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    nearest(wanted, names.iter().map(String::as_str))
}

/// The text of a file without a byte-order mark; a few bytes in another encoding (names with
/// accents) are replaced.
///
/// # Errors
/// When it cannot be read, or is no text.
pub fn read_text(path: &Path) -> Result<String> {
    text::decode(path, &read_bytes(path)?)
}

/// All files under a folder, sorted. Hidden ones are left out, links to folders not followed.
pub(crate) fn files_under(dir: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for (path, is_dir) in entries(&folder)? {
            if is_dir { &mut folders } else { &mut files }.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What matches a path whose parts may hold `*`, which stands for any characters within one part.
/// Looked for here, then in the folder of data sets; sorted.
///
/// # Errors
/// When the part before the first `*` is in neither, or cannot be read.
pub(crate) fn matching(pattern: &Path) -> Result<Vec<PathBuf>> {
    let is_literal = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains('*');
    let parts: Vec<Component<'_>> = pattern.components().collect();
    let literal = parts.iter().take_while(|part| is_literal(part)).count();
    let root: PathBuf = parts.iter().take(literal).collect();
    let Some(rest) = parts.get(literal..).filter(|rest| !rest.is_empty()) else {
        return Ok(vec![locate(pattern)?]);
    };
    let roots = match literal {
        // Without a literal part, both places are looked at.
        0 => vec![PathBuf::new(), data_folder()],
        _ => vec![locate(&root)?],
    };
    for root in roots {
        let mut found = vec![root];
        for part in rest {
            let mut next = Vec::new();
            for dir in &found {
                if is_literal(part) {
                    next.extend(Some(dir.join(part)).filter(|path| path.exists()));
                } else if dir.as_os_str().is_empty() || dir.is_dir() {
                    let part = part.as_os_str().to_string_lossy();
                    let names = entries(dir)?.into_iter().map(|(path, _)| path);
                    next.extend(names.filter(|path| {
                        path.file_name().is_some_and(|n| is_match(&part, &n.to_string_lossy()))
                    }));
                }
            }
            found = next;
        }
        if !found.is_empty() {
            found.sort();
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Whether a name is what a pattern says, `*` standing for any characters.
fn is_match(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What is in a folder, and whether each is a folder; hidden ones are left out.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, bool)>> {
    let dir = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|source| unreadable(dir, source))? {
        let entry = entry.map_err(|source| unreadable(dir, source))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = folder.join(entry.file_name());
        let kind = entry.file_type().map_err(|source| unreadable(&path, source))?;
        entries.push((path, kind.is_dir()));
    }
    Ok(entries)
}

/// A file inside a tar file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its path.
    pub name: String,
    /// Where its bytes begin.
    pub offset: u64,
    /// How many they are.
    pub size: u64,
}

impl Member {
    /// The key that WebDataset pairs members by, the name up to the first dot of its last part, and
    /// what follows the dot.
    pub fn key(&self) -> (&str, &str) {
        let file = self.name.rfind('/').map_or(0, |slash| slash + 1);
        match self.name[file..].find('.') {
            Some(dot) => (&self.name[..file + dot], &self.name[file + dot + 1..]),
            None => (&self.name, ""),
        }
    }
}

/// Visits the files of a tar file in its order. Only headers are read, and what `visit` reads.
///
/// # Errors
/// When it is missing or no tar file, and what `visit` gives.
pub(crate) fn each_member(
    path: &Path,
    mut visit: impl FnMut(Member, &mut dyn Read) -> std::io::Result<()>,
) -> Result<()> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => unreadable(path, source),
        _ => DataError::Line {
            path: path.into(),
            line: 1,
            reason: format!("not a readable tar file, or a compressed one: {source}"),
        },
    };
    let mut archive = tar::Archive::new(File::open(path).map_err(failed)?);
    for entry in archive.entries_with_seek().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().map_err(failed)?.to_string_lossy().into_owned();
        let member = Member { name, offset: entry.raw_file_position(), size: entry.size() };
        visit(member, &mut entry).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes a tar file of these members.
    pub(crate) fn write_tar(path: &Path, members: &[(&str, &[u8])]) {
        let mut builder = tar::Builder::new(File::create(path).unwrap());
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap();
    }

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, expected) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txt.gz", false),
            ("a*b*c", "axxbxbc", true),
            ("a*b*c", "axxc", false),
            ("part-*", "part-", true),
            ("*", "anything", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_reach_into_folders() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b/1.txt", "a/2.txt", "a/1.txt", "a/1.md", ".hidden/1.txt"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let found = matching(&dir.path().join("*/*.txt")).unwrap();
        let names: Vec<_> =
            found.iter().map(|path| path.strip_prefix(dir.path()).unwrap()).collect();
        assert_eq!(names, [Path::new("a/1.txt"), Path::new("a/2.txt"), Path::new("b/1.txt")]);
        assert_eq!(matching(&dir.path().join("*/3.txt")).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(files_under(dir.path()).unwrap().len(), 4);
    }
}
