//! Where tests find real data and reference outputs, for the tests of every crate.

use std::path::PathBuf;

/// `name` in the folder of real data: the one that `KILN_DATA` names, or `shared/data` beside the
/// repository. Says that a test skipped, and gives nothing, where it is not there.
#[must_use]
pub fn data(name: &str) -> Option<PathBuf> {
    find("KILN_DATA", "shared/data", name)
}

/// `name` in the folder of reference outputs: the one that `KILN_FIXTURES` names, or
/// `shared/fixtures` beside the repository. Says that a test skipped, and gives nothing, where it
/// is not there.
#[must_use]
pub fn fixture(name: &str) -> Option<PathBuf> {
    find("KILN_FIXTURES", "shared/fixtures", name)
}

/// The usual folder is looked for above where a test runs, not where it was compiled: built tests
/// are reused by other checkouts.
fn find(variable: &str, usual: &str, name: &str) -> Option<PathBuf> {
    let here = std::env::current_dir().unwrap_or_default();
    let beside = || here.ancestors().map(|above| above.join(usual)).find(|path| path.is_dir());
    let root = std::env::var_os(variable).map(PathBuf::from).or_else(beside);
    let path = root.map(|root| root.join(name)).filter(|path| path.exists());
    if path.is_none() {
        println!("skipped: no {name}; {variable} may name the folder that has it");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn folders_are_looked_for_above_where_tests_run() {
        let named = find("KILN_NO_SUCH_VARIABLE", "src", "lib.rs").unwrap();
        assert!(named.ends_with("kiln-host/src/lib.rs"));
        assert!(find("KILN_NO_SUCH_VARIABLE", "crates", "kiln-host").is_some());
        assert_eq!(find("KILN_NO_SUCH_VARIABLE", "src", "nothing.rs"), None);
        assert_eq!(find("KILN_NO_SUCH_VARIABLE", "no such folder", ""), None);
    }
}
