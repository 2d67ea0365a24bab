//! The crates of the workspace stand on floors: a crate depends on those below it alone.

use std::{fs, path::Path};

/// The floors, from the bottom; the crates of one floor do not depend on each other.
const FLOORS: &[&[&str]] = &[
    &["kiln-host", "kiln-kernels"],
    &["kiln-core", "kiln-datasets"],
    &["kiln-nn", "kiln-metrics", "kiln-synthetic", "kiln-tokenize"],
    &["kiln-objectives", "kiln-hub"],
    &["kiln-train", "kiln-lm"],
    &["kiln-timeseries", "kiln-speech", "kiln-text"],
    &["kiln-cli", "kiln-benches"],
];

/// Crates that need no tensors.
const HOST_ONLY: &[&str] =
    &["kiln-host", "kiln-datasets", "kiln-metrics", "kiln-synthetic", "kiln-tokenize"];

/// The dependencies that a crate names, without those of its tests.
fn dependencies(root: &Path, name: &str) -> Vec<String> {
    let short = name.strip_prefix("kiln-").unwrap();
    let folders = [format!("crates/{name}"), format!("modalities/{short}"), short.to_owned()];
    let manifests = folders.iter().map(|folder| root.join(folder).join("Cargo.toml"));
    let manifest = manifests.into_iter().find(|path| path.exists()).unwrap();
    let text = fs::read_to_string(manifest).unwrap();
    let section = text.split("[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let named = section.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    named.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned).collect()
}

/// The page that draws them is kept in the docs; with `KILN_BLESS` set it is written there.
#[test]
fn no_arrow_between_crates_points_up() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let floor = |name: &str| FLOORS.iter().position(|floor| floor.contains(&name));
    let mut page = String::from(PAGE);
    for (number, crates) in FLOORS.iter().enumerate().rev() {
        page += &format!("| {} | ", number + 1);
        let each = crates.iter().map(|name| {
            let all = dependencies(root, name);
            let host_only = HOST_ONLY.contains(name);
            assert!(!host_only || !all.iter().any(|one| one.starts_with("burn")), "{name}: Burn");
            let own: Vec<String> = all.into_iter().filter(|one| one.starts_with("kiln-")).collect();
            for below in &own {
                let below_floor = floor(below).unwrap_or_else(|| panic!("{below} has no floor"));
                assert!(below_floor < number, "{name} depends on {below}, which is not below it");
                assert!(!host_only || HOST_ONLY.contains(&below.as_str()), "{name}: {below}");
            }
            let own = if own.is_empty() { "nothing".into() } else { own.join(", ") };
            format!("**{name}** on {own}")
        });
        page += &format!("{} |\n", each.collect::<Vec<_>>().join("; "));
    }
    let path = root.join("docs/architecture.md");
    if std::env::var_os("KILN_BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(page, kept, "docs/architecture.md is out of date: run this test with KILN_BLESS=1");
}

/// The head of the page.
const PAGE: &str = "\
# Crates

A crate depends on crates of lower floors alone, and crates that need no tensors (host, datasets,
metrics, synthetic, tokenize) on no crate that does. [How it is built](how-it-is-built.md) says what each
holds. This page is written by the test `floors` of `tests/all`.

| floor | crates and what they depend on |
| --- | --- |
";
