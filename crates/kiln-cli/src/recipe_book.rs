//! Finding recipes: by path, or by name in a folder of them or in this binary.

use crate::cli::RecipeArgs;
use kiln_train::{
    failure::{Failure, Result},
    recipe::{Device, RecipeText},
};
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

/// The recipes of the repository as they were when this binary was built.
const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// Where a recipe's text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File(PathBuf),
    /// In this binary.
    Embedded(&'static str),
}

/// Recipes by name: `timeseries/zero-shot`.
#[derive(Debug, Default)]
pub struct RecipeBook(BTreeMap<String, Place>);

impl RecipeBook {
    /// The recipes of a folder, or those there are by default: in this binary, overridden by name
    /// by `./recipes` and then by the folder that `KILN_RECIPES` names.
    pub fn open(dir: Option<&Path>) -> Result<Self> {
        let mut book = Self::default();
        if let Some(dir) = dir {
            book.add(dir)?;
            return Ok(book);
        }
        for (name, text) in EMBEDDED {
            book.0.insert((*name).to_owned(), Place::Embedded(text));
        }
        if Path::new("recipes").is_dir() {
            book.add(Path::new("recipes"))?;
        }
        if let Some(dir) = env::var_os("KILN_RECIPES").filter(|dir| !dir.is_empty()) {
            book.add(Path::new(&dir))?;
        }
        Ok(book)
    }

    fn add(&mut self, dir: &Path) -> Result<()> {
        if !dir.is_dir() {
            return Err(Failure::user(
                format!("{} is no folder of recipes", dir.display()),
                "name a folder with .toml files, by --dir or the variable KILN_RECIPES",
            ));
        }
        walk(dir, dir, &mut self.0).map_err(|source| Failure::io("read", dir, source))
    }

    /// Recipes in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.0.iter().map(|(name, place)| (name.as_str(), place))
    }

    /// Reads a recipe: a file, or a name in this book.
    pub fn read(&self, spec: &str, sets: &[String]) -> Result<RecipeText> {
        let path = Path::new(spec);
        if path.is_file() {
            return Ok(RecipeText::read(path, sets)?);
        }
        let name = spec.trim_end_matches(".toml").trim_start_matches("recipes/");
        match self.0.get(name) {
            Some(Place::File(path)) => Ok(RecipeText::read(path, sets)?),
            Some(Place::Embedded(text)) => {
                let path = PathBuf::from(format!("recipes/{name}.toml"));
                Ok(RecipeText::new(&path, (*text).to_owned(), sets)?)
            }
            None => Err(self.unknown(spec, name)),
        }
    }

    fn unknown(&self, spec: &str, name: &str) -> Failure {
        let what = if Path::new(spec).is_dir() { "is a folder, not" } else { "is no file and no" };
        let likeness = |other: &str| {
            let last = other.rsplit('/').next().unwrap_or(other);
            strsim::jaro_winkler(name, other).max(strsim::jaro_winkler(name, last))
        };
        let near = self
            .0
            .keys()
            .map(|other| (likeness(other), other))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|left, right| left.0.total_cmp(&right.0));
        let help = match near {
            Some((_, near)) => format!("did you mean `{near}`? `kiln recipes` lists all"),
            None => "`kiln recipes` lists the recipes there are".into(),
        };
        Failure::user(format!("`{spec}` {what} recipe"), help)
    }
}

fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<String, Place>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(root, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.strip_prefix(root).unwrap_or(&path).with_extension("");
            let parts = name.components().map(|part| part.as_os_str().to_string_lossy());
            found.insert(parts.collect::<Vec<_>>().join("/"), Place::File(path));
        }
    }
    Ok(())
}

impl RecipeArgs {
    /// The recipe's text with all overrides.
    pub fn read(&self) -> Result<RecipeText> {
        RecipeBook::open(None)?.read(&self.recipe, &overrides(&self.sets, self.device))
    }
}

/// What was typed to override a recipe, its device included.
pub fn overrides(sets: &[String], device: Option<Device>) -> Vec<String> {
    let device = device.map(|device| format!("device={}", device.name()));
    sets.iter().cloned().chain(device).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("timeseries")).unwrap();
        fs::write(dir.path().join("timeseries/zero-shot.toml"), "name = 'z'\n").unwrap();
        fs::write(dir.path().join("top.toml"), "name = 't'\n").unwrap();
        fs::write(dir.path().join("notes.md"), "").unwrap();
        dir
    }

    #[test]
    fn a_folder_is_walked() {
        let dir = folder();
        let book = RecipeBook::open(Some(dir.path())).unwrap();
        let names: Vec<_> = book.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["timeseries/zero-shot", "top"]);
    }

    #[test]
    fn recipes_are_read_by_name_and_by_path() {
        let dir = folder();
        let book = RecipeBook::open(Some(dir.path())).unwrap();
        let path = dir.path().join("top.toml");
        for spec in ["top", "top.toml", "recipes/top.toml", path.to_str().unwrap()] {
            let text = book.read(spec, &["seed=3".into()]).unwrap().text;
            assert!(text.contains("seed = 3"), "{spec}: {text}");
        }
    }

    #[test]
    fn an_unknown_name_gets_the_nearest() {
        let dir = folder();
        let book = RecipeBook::open(Some(dir.path())).unwrap();
        let failure = book.read("zeroshot", &[]).unwrap_err();
        assert!(matches!(failure, Failure::User { .. }), "{failure:?}");
        assert!(format!("{failure:?}").contains("timeseries/zero-shot"), "{failure:?}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let failure = RecipeBook::open(Some(Path::new("no/such/folder"))).unwrap_err();
        assert!(format!("{failure:?}").contains("no/such/folder"), "{failure:?}");
    }
}
