//! Reads a recipe's text and applies what the command line overrides.

use super::{contents::RecipeText, error::RecipeError, spans::join_key};
use std::{fs, path::Path};
use toml_edit::{DocumentMut, InlineTable, Item, Value};

impl RecipeText {
    /// Reads a recipe and applies overrides such as `stage.0.steps=50`.
    ///
    /// A path's integers count list entries from 0. What stands after `=` is TOML, or else plain
    /// text. Keys that are not there are added, list entries are not.
    ///
    /// # Errors
    /// When the file cannot be read or is no TOML, or an override does not fit it.
    pub fn read(path: &Path, sets: &[String]) -> Result<Self, RecipeError> {
        let text = fs::read_to_string(path).map_err(|error| {
            RecipeError::new(path, format!("cannot read the recipe: {error}")).with_source(error)
        })?;
        Self::new(path, text, sets)
    }

    /// The same for a text that is in memory; `path` is what errors call it.
    ///
    /// # Errors
    /// When it is no TOML, or an override does not fit it.
    pub fn new(path: &Path, text: String, sets: &[String]) -> Result<Self, RecipeError> {
        let recipe = Self { path: path.to_path_buf(), text };
        if sets.is_empty() {
            return Ok(recipe);
        }
        let mut document = recipe.text.parse::<DocumentMut>().map_err(|error| {
            let span = error.span().unwrap_or_default();
            RecipeError::spanned(&recipe, error.message().trim(), vec![(span, String::new())])
        })?;
        for set in sets {
            apply(&mut document, set)
                .map_err(|problem| RecipeError::new(path, format!("`--set {set}`: {problem}")))?;
        }
        Ok(Self { text: document.to_string(), ..recipe })
    }
}

/// Applies one override.
fn apply(document: &mut DocumentMut, set: &str) -> Result<(), String> {
    let (path, value) =
        set.split_once('=').ok_or("expected `key=value`, such as `stage.0.steps=50`")?;
    let segments: Vec<&str> = path.split('.').map(str::trim).collect();
    if segments.iter().any(|segment| segment.is_empty()) {
        return Err("expected `key=value`, such as `stage.0.steps=50`".into());
    }
    descend(document.as_item_mut(), &segments, "", value.trim())
}

/// Walks down to the parent of the last segment and sets it.
fn descend(item: &mut Item, segments: &[&str], above: &str, value: &str) -> Result<(), String> {
    let Some((segment, rest)) = segments.split_first() else {
        *item = Item::Value(parse(value, Some(item)));
        return Ok(());
    };
    let here = join_key(above, segment);
    match item {
        Item::ArrayOfTables(tables) => {
            let count = tables.len();
            let table = index(segment, count, above).map(|index| tables.get_mut(index))?;
            // `descend` works on items; a table is taken out and put back.
            let Some(table) = table else { return Err(no_entry(above, count)) };
            if rest.is_empty() {
                return Err(format!("`{here}` is a table; name one of its keys"));
            }
            let mut inner = Item::Table(std::mem::take(table));
            let result = descend(&mut inner, rest, &here, value);
            if let Item::Table(inner) = inner {
                *table = inner;
            }
            result
        }
        Item::Value(Value::Array(values)) => {
            let count = values.len();
            let index = index(segment, count, above)?;
            let Some(entry) = values.get_mut(index) else { return Err(no_entry(above, count)) };
            set_value(entry, rest, &here, value)
        }
        Item::Value(Value::InlineTable(table)) => {
            let entry = table.entry(*segment).or_insert_with(|| empty(rest));
            set_value(entry, rest, &here, value)
        }
        Item::Table(table) => {
            let entry = table.entry(segment).or_insert(Item::None);
            if entry.is_none() {
                *entry = if rest.is_empty() { Item::None } else { Item::Value(empty(rest)) };
            }
            descend(entry, rest, &here, value)
        }
        Item::None | Item::Value(_) => {
            Err(format!("`{above}` is no table, so it has no `{segment}`"))
        }
    }
}

/// The same within an inline value.
fn set_value(entry: &mut Value, rest: &[&str], here: &str, value: &str) -> Result<(), String> {
    let mut item = Item::Value(entry.clone());
    descend(&mut item, rest, here, value)?;
    if let Ok(changed) = item.into_value() {
        *entry = changed;
    }
    Ok(())
}

/// What stands in for a key that is not there yet.
fn empty(rest: &[&str]) -> Value {
    if rest.is_empty() { Value::from("") } else { Value::InlineTable(InlineTable::new()) }
}

fn index(segment: &str, count: usize, above: &str) -> Result<usize, String> {
    match segment.parse::<usize>() {
        Ok(index) if index < count => Ok(index),
        Ok(_) => Err(no_entry(above, count)),
        Err(_) => Err(format!("`{above}` is a list: expected an index from 0, not `{segment}`")),
    }
}

fn no_entry(above: &str, count: usize) -> String {
    match count {
        0 => format!("`{above}` is an empty list"),
        1 => format!("`{above}` has one entry, index 0"),
        _ => format!("`{above}` has {count} entries, index 0 to {}", count - 1),
    }
}

/// TOML, or plain text: always the latter where text stood before.
fn parse(value: &str, before: Option<&Item>) -> Value {
    let before = before.and_then(Item::as_value);
    let was_text = before.is_some_and(|value| value.as_str().is_some_and(|text| !text.is_empty()));
    let mut parsed = match value.parse::<Value>() {
        Ok(parsed) if parsed.is_str() || parsed.is_inline_table() || !was_text => parsed,
        _ => Value::from(value),
    };
    // Spaces and a comment after the value stay as they were.
    match before {
        Some(before) => *parsed.decor_mut() = before.decor().clone(),
        None => parsed.decor_mut().clear(),
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# What it does.
name = 'x'
[[stage]]
steps = 3 # few
optimizer.adamw = { learning_rate = 1e-3, betas = [0.9, 0.99] }
[[stage]]
steps = 4
[data.synthetic]
length = 5
";

    fn set(sets: &[&str]) -> Result<String, String> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        RecipeText::new(Path::new("r.toml"), TEXT.into(), &sets)
            .map(|recipe| recipe.text)
            .map_err(|error| error.to_string())
    }

    fn value(sets: &[&str], path: &[&str]) -> toml::Value {
        let text = set(sets).unwrap();
        let mut value = toml::Value::Table(text.parse().unwrap_or_else(|_| panic!("{text}")));
        for segment in path {
            value = match segment.parse::<usize>() {
                Ok(index) => value[index].clone(),
                Err(_) => value[*segment].clone(),
            };
        }
        value
    }

    #[test]
    fn values_are_replaced_at_any_depth() {
        assert_eq!(value(&["stage.1.steps=50"], &["stage", "1", "steps"]).as_integer(), Some(50));
        let rate = ["stage", "0", "optimizer", "adamw", "learning_rate"];
        assert_eq!(
            value(&["stage.0.optimizer.adamw.learning_rate=0.5"], &rate).as_float(),
            Some(0.5)
        );
        let beta = ["stage", "0", "optimizer", "adamw", "betas", "1"];
        assert_eq!(value(&["stage.0.optimizer.adamw.betas.1=0.5"], &beta).as_float(), Some(0.5));
    }

    #[test]
    fn keys_are_added_tables_too() {
        assert_eq!(value(&["seed=7"], &["seed"]).as_integer(), Some(7));
        let warmup = ["stage", "1", "schedule", "cosine", "warmup"];
        assert_eq!(value(&["stage.1.schedule.cosine.warmup=9"], &warmup).as_integer(), Some(9));
        assert_eq!(
            value(&["data.synthetic.count=2"], &["data", "synthetic", "length"]).as_integer(),
            Some(5)
        );
    }

    #[test]
    fn what_is_no_toml_is_text_and_text_stays_text() {
        assert_eq!(value(&["name=my-run"], &["name"]).as_str(), Some("my-run"));
        assert_eq!(value(&["name=007"], &["name"]).as_str(), Some("007"));
        assert_eq!(value(&["name=7"], &["name"]).as_str(), Some("7"));
        assert_eq!(value(&["name='7'"], &["name"]).as_str(), Some("7"));
        assert_eq!(value(&["device=cuda"], &["device"]).as_str(), Some("cuda"));
        let lion = value(&["stage.1.optimizer={lion={}}"], &["stage", "1", "optimizer"]);
        assert!(lion["lion"].is_table());
    }

    #[test]
    fn comments_survive() {
        let text = set(&["stage.0.steps=5", "stage.1.schedule.cosine.floor=0.5"]).unwrap();
        assert!(text.contains("# What it does.") && text.contains("steps = 5 # few"), "{text}");
        assert!(text.contains("schedule = { cosine = { floor = 0.5 } }"), "{text}");
    }

    #[test]
    fn what_does_not_fit_is_explained() {
        for (given, expected) in [
            ("stage.2.steps=5", "`stage` has 2 entries, index 0 to 1"),
            ("stage.last.steps=5", "expected an index"),
            ("stage.0=5", "`stage.0` is a table"),
            ("name.x=5", "`name` is no table"),
            ("stage.0.optimizer.adamw.betas.2=1", "`stage.0.optimizer.adamw.betas` has 2 entries"),
            ("steps", "key=value"),
            ("=5", "key=value"),
            ("a..b=5", "key=value"),
        ] {
            let error = set(&[given]).unwrap_err();
            assert!(error.contains(expected) && error.contains(given), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = RecipeText::read(Path::new("no/such.toml"), &[]).unwrap_err().to_string();
        assert!(error.contains("no/such.toml") && error.contains("cannot read"), "{error}");
    }

    #[test]
    fn a_text_that_is_no_toml_points_at_the_place() {
        let sets = ["seed=1".to_owned()];
        let error = RecipeText::new(Path::new("r.toml"), "a = 1\nb = [\n".into(), &sets);
        let error = error.unwrap_err();
        assert!(error.line() >= Some(2), "{error}");
    }
}
