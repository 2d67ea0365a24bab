//! Variants of a recipe, which are run one after the other and compared in one table.
//!
//! ```toml
//! [[variant]]
//! name = "pretrained"
//!
//! [[variant]]
//! name = "from scratch"
//! skip = [0]
//! set = ["stage.1.steps=2000"]
//! ```

use super::{contents::RecipeText, error::RecipeError};
use std::{collections::BTreeSet, path::Path};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value};

/// One variant of a recipe.
#[derive(Debug, Clone)]
pub struct Variant {
    /// What it is called in tables.
    pub name: String,
    /// Its directory below that of the recipe.
    pub directory: String,
    /// Whether it is only there for others to start from, and is left out of the table.
    pub hidden: bool,
    /// The variant before whose model its first stage starts from, by directory.
    pub from: Option<String>,
    /// The recipe that it makes.
    pub recipe: RecipeText,
}

impl Variant {
    /// The variant as it is run, with the variants' runs in `root`.
    ///
    /// # Errors
    /// When it has no stage that could start from another variant's model.
    pub fn in_root(&self, root: &Path) -> Result<RecipeText, RecipeError> {
        let start = self.from.as_ref().map(|from| root.join(from));
        let set = start.map(|start| format!("stage.0.init.model='{}'", start.display()));
        let sets: Vec<String> = set.into_iter().collect();
        RecipeText::new(&self.recipe.path, self.recipe.text.clone(), &sets)
    }
}

/// The keys of a variant.
const KEYS: [&str; 5] = ["name", "set", "skip", "from", "hidden"];

impl RecipeText {
    /// The variants of a recipe; none where it has no `variant`.
    ///
    /// Of each variant, `set` holds overrides as `--set` takes them, `skip` numbers of stages that are
    /// left out, `from` the name of a variant before, whose model the first stage starts from, and
    /// `hidden` keeps it out of the table.
    ///
    /// # Errors
    /// When a variant has a mistake.
    pub fn variants(&self) -> Result<Vec<Variant>, RecipeError> {
        let wrong = |problem: String| RecipeError::new(&self.path, problem);
        let Ok(mut document) = self.text.parse::<DocumentMut>() else {
            // Whoever reads the recipe itself says what is wrong with it, and where.
            return Ok(Vec::new());
        };
        let Some(variants) = document.remove("variant") else { return Ok(Vec::new()) };
        let Item::ArrayOfTables(variants) = variants else {
            return Err(wrong("`variant` has to be a list of tables: `[[variant]]`".into()));
        };
        let mut found: Vec<Variant> = Vec::new();
        let mut directories = BTreeSet::new();
        for (number, variant) in variants.iter().enumerate() {
            let variant = Settings::read(number, variant).map_err(wrong)?;
            let directory = directory(&variant.name);
            if !directories.insert(directory.clone()) {
                return Err(wrong(format!(
                    "two variants have the directory `{directory}`: rename one"
                )));
            }
            let mut changed = document.clone();
            leave_out(&mut changed, &variant).map_err(wrong)?;
            let before = |from: &String| {
                let before = found.iter().find(|before| before.name == *from);
                let problem =
                    || wrong(format!("variant `{}`: no variant before is `{from}`", variant.name));
                before.map(|before| before.directory.clone()).ok_or_else(problem)
            };
            found.push(Variant {
                from: variant.from.as_ref().map(before).transpose()?,
                recipe: Self::new(&self.path, changed.to_string(), &variant.set)
                    .map_err(|error| wrong(format!("variant `{}`: {error}", variant.name)))?,
                hidden: variant.hidden,
                name: variant.name,
                directory,
            });
        }
        Ok(found)
    }

    /// The same, but only these and the ones that they start from; all where none is named.
    ///
    /// # Errors
    /// When a variant has a mistake, or there is none of a name.
    pub fn chosen_variants(&self, names: &[String]) -> Result<Vec<Variant>, RecipeError> {
        let mut variants = self.variants()?;
        if names.is_empty() {
            return Ok(variants);
        }
        if let Some(name) =
            names.iter().find(|name| variants.iter().all(|variant| variant.name != **name))
        {
            let there: Vec<_> =
                variants.iter().map(|variant| format!("`{}`", variant.name)).collect();
            let there = if there.is_empty() { "none".into() } else { there.join(", ") };
            let problem = format!("there is no variant `{name}`; there are: {there}");
            return Err(RecipeError::new(&self.path, problem));
        }
        let mut needed = BTreeSet::new();
        // Backwards: a variant starts from one before it.
        for variant in variants.iter().rev() {
            if names.contains(&variant.name) || needed.contains(&variant.directory) {
                needed.insert(variant.directory.clone());
                needed.extend(variant.from.clone());
            }
        }
        variants.retain(|variant| needed.contains(&variant.directory));
        Ok(variants)
    }
}

struct Settings {
    name: String,
    set: Vec<String>,
    skip: Vec<usize>,
    from: Option<String>,
    hidden: bool,
}

impl Settings {
    fn read(number: usize, variant: &Table) -> Result<Self, String> {
        if let Some((key, _)) = variant.iter().find(|(key, _)| !KEYS.contains(key)) {
            return Err(format!(
                "variant.{number} has no key `{key}`; there are {}",
                KEYS.join(", ")
            ));
        }
        let text = |key: &str| -> Result<Option<String>, String> {
            match variant.get(key) {
                None => Ok(None),
                Some(item) => match item.as_str() {
                    Some(text) => Ok(Some(text.to_owned())),
                    None => Err(format!("variant.{number}.{key} has to be a text")),
                },
            }
        };
        let list = |key: &str| -> Result<Vec<Value>, String> {
            match variant.get(key) {
                None => Ok(Vec::new()),
                Some(item) => match item.as_array() {
                    Some(values) => Ok(values.iter().cloned().collect()),
                    None => Err(format!("variant.{number}.{key} has to be a list")),
                },
            }
        };
        let name = text("name")?.ok_or_else(|| format!("variant.{number} has no `name`"))?;
        let set = |value: Value| {
            let text = value.as_str().map(ToOwned::to_owned);
            text.ok_or_else(|| format!("variant.{number}.set has to hold texts: \"seed=2\""))
        };
        let skip = |value: Value| {
            let stage = value.as_integer().and_then(|stage| usize::try_from(stage).ok());
            stage.ok_or_else(|| {
                format!("variant.{number}.skip has to hold numbers of stages, from 0")
            })
        };
        let hidden = match variant.get("hidden") {
            None => false,
            Some(item) => {
                item.as_bool().ok_or_else(|| format!("variant.{number}.hidden is true or false"))?
            }
        };
        Ok(Self {
            name,
            set: list("set")?.into_iter().map(set).collect::<Result<_, _>>()?,
            skip: list("skip")?.into_iter().map(skip).collect::<Result<_, _>>()?,
            from: text("from")?,
            hidden,
        })
    }
}

/// Takes the stages out that a variant skips, and evaluations of variants that are not compared.
fn leave_out(document: &mut DocumentMut, variant: &Settings) -> Result<(), String> {
    if variant.hidden {
        document.remove("evaluation");
    }
    if variant.skip.is_empty() {
        return Ok(());
    }
    let Some(Item::ArrayOfTables(stages)) = document.get_mut("stage") else {
        return Err(format!("variant `{}` skips stages, and the recipe has none", variant.name));
    };
    if let Some(stage) = variant.skip.iter().find(|stage| **stage >= stages.len()) {
        return Err(format!("variant `{}` skips stage {stage}, of {}", variant.name, stages.len()));
    }
    let kept = stages.iter().enumerate().filter(|(stage, _)| !variant.skip.contains(stage));
    let kept: ArrayOfTables = kept.map(|(_, table)| table.clone()).collect();
    if kept.is_empty() {
        return Err(format!("variant `{}` skips every stage", variant.name));
    }
    *stages = kept;
    Ok(())
}

/// A name as a directory: `none, 10 %` is `none-10`.
fn directory(name: &str) -> String {
    let words = name.split(|one: char| !one.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = 'x'\nseed = 1\n[[stage]]\nname = 'a'\nsteps = 3\n[[stage]]\n\
                        name = 'b'\nsteps = 4\n[[evaluation]]\nname = 'e'\n";

    fn variants(text: &str) -> Result<Vec<Variant>, String> {
        let recipe = RecipeText::new(Path::new("r.toml"), format!("{TEXT}{text}"), &[]).unwrap();
        recipe.variants().map_err(|error| error.to_string())
    }

    #[test]
    fn recipes_without_variants_have_none() {
        assert!(variants("").unwrap().is_empty());
    }

    #[test]
    fn each_variant_is_a_recipe() {
        let found = variants(
            "[[variant]]\nname = 'Start'\nskip = [1]\nhidden = true\n[[variant]]\nname = 'On, 10 %'\n\
             skip = [0]\nfrom = 'Start'\nset = ['stage.0.steps=9']\n",
        )
        .unwrap();
        let value = |at: usize| {
            let recipe = found[at].in_root(Path::new("runs/x")).unwrap();
            recipe.text.parse::<toml::Table>().unwrap()
        };
        let first = value(0);
        assert_eq!(first["stage"].as_array().unwrap().len(), 1);
        assert!(
            found[0].hidden && !first.contains_key("evaluation") && !first.contains_key("variant")
        );
        let second = value(1);
        let stage = &second["stage"][0];
        assert_eq!(stage["name"].as_str(), Some("b"));
        assert_eq!(stage["steps"].as_integer(), Some(9));
        assert_eq!(stage["init"]["model"].as_str(), Some("runs/x/start"));
        assert_eq!((&found[1].name[..], &found[1].directory[..]), ("On, 10 %", "on-10"));
    }

    #[test]
    fn chosen_variants_bring_those_that_they_start_from() {
        let text = "[[variant]]\nname = 'Start'\n[[variant]]\nname = 'other'\n\
                    [[variant]]\nname = 'on'\nskip = [0]\nfrom = 'Start'\n";
        let recipe = RecipeText::new(Path::new("a.toml"), format!("{TEXT}{text}"), &[]).unwrap();
        let names = |chosen: &[&str]| {
            let chosen: Vec<_> = chosen.iter().map(ToString::to_string).collect();
            let variants = recipe.chosen_variants(&chosen).map_err(|error| error.to_string())?;
            Ok::<_, String>(variants.into_iter().map(|variant| variant.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap().len(), 3);
        assert_eq!(names(&["on"]).unwrap(), ["Start", "on"]);
        assert_eq!(names(&["other"]).unwrap(), ["other"]);
        assert!(names(&["off"]).unwrap_err().contains("`Start`, `other`, `on`"));
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| variants(text).unwrap_err();
        assert!(error("[[variant]]\nset = []\n").contains("variant.0 has no `name`"));
        assert!(error("[[variant]]\nname = 'a'\nsteps = 3\n").contains("no key `steps`"));
        assert!(error("[[variant]]\nname = 'a'\nskip = [2]\n").contains("skips stage 2, of 2"));
        assert!(error("[[variant]]\nname = 'a'\nskip = [0, 1]\n").contains("every stage"));
        assert!(
            error("[[variant]]\nname = 'a'\nfrom = 'b'\n").contains("no variant before is `b`")
        );
        assert!(
            error("[[variant]]\nname = 'a'\n[[variant]]\nname = 'A'\n").contains("directory `a`")
        );
        assert!(error("[[variant]]\nname = 'a'\nset = ['steps']\n").contains("variant `a`"));
    }
}
