//! From a recipe's text to its types; every mistake is answered with its place.

use super::{
    contents::{Common, ModalitySpec, Recipe, RecipeText, SharedOnly, Stage},
    error::RecipeError,
    problem::Problem,
    schema::schema,
    spans::{Spans, join_key},
    validate::problems,
};
use kiln_core::Seed;
use serde_json::Value as Json;
use std::ops::Range;

/// Reads a recipe.
///
/// # Errors
/// When it is no TOML, has an unknown or missing key, a wrong type, or a value out of range.
pub fn parse<P: ModalitySpec>(text: &RecipeText) -> Result<Recipe<P>, RecipeError> {
    let recipe: Recipe<P> =
        toml::from_str(&text.text).map_err(|error| explain::<P>(text, &error))?;
    let mut problems = problems(&recipe);
    if problems.is_empty() {
        problems = too_long(text, &recipe);
    }
    let Some(first) = problems.first() else { return Ok(recipe) };
    let message = match problems.len() {
        1 => format!("`{}` {}", first.key, first.message),
        count => format!("{count} values do not fit; the first: `{}` {}", first.key, first.message),
    };
    let spans = Spans::new(&text.text);
    let labels = problems.iter().map(|one| (spans.value(&one.key), one.message.clone())).collect();
    Err(RecipeError::spanned(text, message, labels))
}

/// Which modality a recipe is for; all else is left to that modality.
///
/// # Errors
/// When the text is no TOML or does not say.
pub fn modality(text: &RecipeText) -> Result<String, RecipeError> {
    let table: toml::Table = toml::from_str(&text.text).map_err(|error| syntax(text, &error))?;
    match table.get("modality") {
        Some(toml::Value::String(name)) => Ok(name.clone()),
        Some(_) => Err(RecipeError::at(text, "modality", "`modality` is not text")),
        None => {
            let label = vec![(first_line(&text.text), "no `modality` here".to_owned())];
            Err(RecipeError::spanned(text, "the recipe does not say its `modality`", label)
                .with_help(
                    "begin with two lines such as\nname = \"my-run\"\nmodality = \"timeseries\"",
                ))
        }
    }
}

/// The recipe with every default written out, as TOML; parsing it gives the same recipe.
///
/// # Errors
/// When a value has no TOML: only integers beyond 63 bits.
pub fn resolved<P: ModalitySpec>(recipe: &Recipe<P>) -> Result<String, RecipeError> {
    toml::to_string_pretty(recipe).map_err(|error| {
        RecipeError::new(recipe.name.as_ref(), format!("cannot be written as TOML: {error}"))
    })
}

impl<P: ModalitySpec> Recipe<P> {
    /// The data of a stage: its own, or the recipe's.
    pub fn data_of<'a>(&'a self, stage: &'a Stage<P>) -> &'a P::Data {
        stage.data.as_ref().unwrap_or(&self.data)
    }

    /// Where a recipe says something about the data of the stage of a number.
    pub fn data_key(&self, number: usize, key: &str) -> String {
        let own = self.stage.get(number).is_some_and(|stage| stage.data.is_some());
        if own { format!("stage.{number}.data.{key}") } else { format!("data.{key}") }
    }

    /// The data of the last stage.
    pub fn last_data(&self) -> &P::Data {
        self.stage.last().map_or(&self.data, |stage| self.data_of(stage))
    }

    /// What random numbers of the data follow from.
    pub fn data_seed(&self) -> Seed {
        Seed::new(self.seed).part("data")
    }

    /// What all modalities' recipes have in common.
    pub fn common(&self) -> Common {
        Recipe {
            name: self.name.clone(),
            modality: self.modality.clone(),
            description: self.description.clone(),
            seed: self.seed,
            device: self.device,
            data: (),
            model: (),
            stage: self.stage.iter().map(Stage::common).collect(),
            evaluation: vec![(); self.evaluation.len()],
        }
    }
}

impl<P: ModalitySpec> Stage<P> {
    /// What all modalities' stages have in common.
    pub fn common(&self) -> Stage<SharedOnly> {
        Stage {
            name: self.name.clone(),
            objective: (),
            data: self.data.as_ref().map(|_| ()),
            init: self.init.clone(),
            steps: self.steps,
            batch: self.batch,
            accumulate: self.accumulate,
            optimizer: self.optimizer.clone(),
            schedule: self.schedule.clone(),
            clip: self.clip,
            ema: self.ema,
            freeze: self.freeze.clone(),
            forget: self.forget.clone(),
            adapt: self.adapt.clone(),
            layer_decay: self.layer_decay,
            precision: self.precision,
            validate_every: self.validate_every,
            checkpoint_every: self.checkpoint_every,
            keep: self.keep,
            patience: self.patience,
            restore_best: self.restore_best,
            max_bad_steps: self.max_bad_steps,
            log_every: self.log_every,
        }
    }
}

/// Lists with more entries than were read: serde stops at the length of a fixed array.
fn too_long<P: ModalitySpec>(text: &RecipeText, recipe: &Recipe<P>) -> Vec<Problem> {
    fn walk(key: &str, given: &toml::Value, read: &toml::Value, found: &mut Vec<Problem>) {
        use toml::Value::{Array, Table};
        match (given, read) {
            (Table(given), Table(read)) => {
                for (name, value) in given {
                    if let Some(read) = read.get(name) {
                        walk(&join_key(key, name), value, read, found);
                    }
                }
            }
            (Array(given), Array(read)) if given.len() > read.len() => {
                let message = format!("has {} entries, expected {}", given.len(), read.len());
                found.push(Problem::new(key, message));
            }
            (Array(given), Array(read)) => {
                for (index, (given, read)) in given.iter().zip(read).enumerate() {
                    walk(&join_key(key, &index.to_string()), given, read, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    let given = text.text.parse::<toml::Table>();
    let read = toml::Value::try_from(recipe);
    if let (Ok(given), Ok(read)) = (given, read) {
        walk("", &toml::Value::Table(given), &read, &mut found);
    }
    found
}

fn syntax(text: &RecipeText, error: &toml::de::Error) -> RecipeError {
    let span = error.span().unwrap_or_default();
    let message = format!("this is no TOML: {}", error.message().trim());
    RecipeError::spanned(text, message, vec![(span, "here".into())])
}

/// Says what serde found in the words of someone who writes recipes.
fn explain<P: ModalitySpec>(text: &RecipeText, error: &toml::de::Error) -> RecipeError {
    if text.text.parse::<toml::Table>().is_err() {
        return syntax(text, error);
    }
    let spans = Spans::new(&text.text);
    let span = error.span().unwrap_or_default();
    let schema = schema::<P>().to_value();
    let at = spans.path_at(&span).unwrap_or_default().to_owned();
    let message = error.message().trim();
    let (name, valid) = quoted(message);
    let names = valid.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");

    if message.starts_with("unknown field") {
        let parent = at.rsplit_once('.').map(|(parent, _)| parent).unwrap_or_default();
        let place = if parent.is_empty() { "a recipe".to_owned() } else { format!("`{parent}`") };
        let label = format!("not a key of {place}");
        let error =
            RecipeError::spanned(text, format!("unknown key `{name}`"), vec![(span, label)]);
        let all = if names.is_empty() {
            format!("{place} has no keys")
        } else {
            format!("keys of {place}: {names}")
        };
        return match (nearest(&name, &valid), belongs(&schema, &name, parent)) {
            (Some(near), _) => error.with_help(format!("did you mean `{near}`?\n{all}")),
            (None, Some(hint)) => error.with_help(format!("{hint}\n{all}")),
            (None, None) => error.with_help(all),
        };
    }
    if message.starts_with("unknown variant") {
        let error = RecipeError::spanned(
            text,
            format!("unknown choice `{name}` for `{}`", choice(&at, &name)),
            vec![(span, "not one of the choices".into())],
        );
        let all = format!("choices: {names}");
        return match nearest(&name, &valid) {
            Some(near) => error.with_help(format!("did you mean `{near}`?\n{all}")),
            None => error.with_help(all),
        };
    }
    if message.starts_with("missing field") {
        let place = if at.is_empty() { "the recipe".to_owned() } else { format!("`{at}`") };
        let span = if span.is_empty() { first_line(&text.text) } else { span };
        let label = vec![(span, format!("`{name}` is missing here"))];
        let error = RecipeError::spanned(text, format!("{place} has no `{name}`"), label);
        return match describe(&schema, &at, &name) {
            Some(meaning) => error.with_help(format!("`{name}`: {meaning}")),
            None => error,
        };
    }
    let key = at.rsplit('.').find(|part| part.parse::<usize>().is_err()).unwrap_or_default();
    let parent = at.split_once(&format!(".{key}")).map(|(parent, _)| parent).unwrap_or_default();
    let help = form(message, &at, text.text.get(span.clone()).unwrap_or_default())
        .or_else(|| describe(&schema, parent, key).map(|meaning| format!("`{key}`: {meaning}")));
    let place = if at.is_empty() { "the recipe".to_owned() } else { format!("`{at}`") };
    let error = RecipeError::spanned(
        text,
        format!("{place} {}", plain(message)),
        vec![(span, "here".into())],
    );
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}

/// The name that a message begins with, and those that it offers.
fn quoted(message: &str) -> (String, Vec<String>) {
    let mut names = message.split('`').skip(1).step_by(2).map(str::to_owned);
    (names.next().unwrap_or_default(), names.collect())
}

/// The key that a choice is made for: `data` for an unknown `[data.cvs]`.
fn choice(at: &str, name: &str) -> String {
    match at.rsplit_once('.') {
        Some((parent, last)) if last == name => parent.to_owned(),
        _ => at.to_owned(),
    }
}

/// The valid name most like `name`, if one is like it at all.
pub(super) fn nearest<'a>(name: &str, valid: &'a [String]) -> Option<&'a str> {
    let name = name.to_lowercase().replace('-', "_");
    let likeness = |other: &String| {
        let other = other.to_lowercase().replace('-', "_");
        let prefix = name.len() >= 3 && (other.starts_with(&name) || name.starts_with(&other));
        let close = strsim::normalized_damerau_levenshtein(&name, &other);
        if prefix { close.max(0.6) } else { close }
    };
    valid
        .iter()
        .map(|other| (likeness(other), other.as_str()))
        .filter(|(likeness, _)| *likeness >= 0.5)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, other)| other)
}

/// Where a key would be right: TOML puts every line after a header into that header's table.
fn belongs(schema: &Json, name: &str, parent: &str) -> Option<String> {
    let keys = |schema: &Json| -> Vec<String> {
        let properties = schema.get("properties").and_then(Json::as_object);
        properties.map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
    };
    let is = |keys: &[String]| keys.iter().any(|key| key == name);
    if !parent.is_empty() && is(&keys(schema)) {
        return Some(format!(
            "`{name}` is a key of the recipe itself: move it above the first [header]"
        ));
    }
    let stage = schema.pointer("/properties/stage/items")?;
    let reference = stage.get("$ref").and_then(Json::as_str);
    let stage = match reference.and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => schema.pointer(pointer)?,
        None => stage,
    };
    is(&keys(stage)).then(|| format!("`{name}` is a key of a stage: move it below [[stage]]"))
}

/// What the types' documentation says about a key of the table `parent`: of the recipe itself, or
/// elsewhere, where all keys of that name agree.
fn describe(schema: &Json, parent: &str, key: &str) -> Option<String> {
    fn collect<'a>(value: &'a Json, key: &str, found: &mut Vec<&'a str>) {
        match value {
            Json::Object(object) => {
                let property = object.get("properties").and_then(|all| all.get(key));
                let described = property.and_then(|one| one.get("description"));
                found.extend(described.and_then(Json::as_str));
                object.values().for_each(|value| collect(value, key, found));
            }
            Json::Array(values) => values.iter().for_each(|value| collect(value, key, found)),
            _ => {}
        }
    }
    if parent.is_empty() {
        let meaning = schema.get("properties")?.get(key)?.get("description")?.as_str()?;
        return Some(meaning.replace('\n', " "));
    }
    let mut found = Vec::new();
    collect(schema, key, &mut found);
    found.dedup();
    match found.as_slice() {
        [one] => Some(one.replace('\n', " ")),
        _ => None,
    }
}

/// How to write what was written in the wrong form.
fn form(message: &str, at: &str, given: &str) -> Option<String> {
    if message.contains("unit variant") {
        let name = given.trim_matches(['"', '\'']);
        Some(format!("`{name}` has settings: write `{at}.{name} = {{}}` to take its defaults"))
    } else if message.contains("invalid type: map, expected a sequence") {
        Some(format!("a list of tables is written with two brackets: [[{at}]]"))
    } else if message.contains("wanted exactly 1 element") {
        Some(format!("`{at}` is a choice: write exactly one, as in `{at}.<choice> = {{ ... }}`"))
    } else {
        None
    }
}

/// Serde's messages without Rust's words.
fn plain(message: &str) -> String {
    if message.starts_with("wanted exactly 1 element") {
        return if message.contains("found 0") {
            "makes no choice".into()
        } else {
            "makes more than one choice".into()
        };
    }
    if message.starts_with("wanted string or table") {
        return "has the wrong type: expected a name or a table".into();
    }
    if message.contains("unit variant") {
        return "is only a name: expected a table of settings".into();
    }
    let (found, expected) = match message.split_once(", expected ") {
        Some((found, expected)) => (found, expected),
        None => return format!("does not fit: {message}"),
    };
    let found = found
        .replace("invalid type: map", "invalid type: a table")
        .replace("invalid type: sequence", "invalid type: a list")
        .replace("invalid type: ", "is ")
        .replace("invalid value: ", "is ")
        .replace("invalid length ", "has length ")
        .replace("is string", "is the text")
        .replace("is integer", "is the whole number")
        .replace("is floating point", "is the number")
        .replace("is boolean", "is");
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "a string" => "text in quotes",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    format!("{found}, expected {expected}")
}

/// The first line that is more than a comment, for mistakes that have no place of their own.
fn first_line(text: &str) -> Range<usize> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        if !bare.is_empty() && !bare.starts_with('#') {
            return start..start + line.trim_end().len();
        }
        start += line.len();
    }
    0..0
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
