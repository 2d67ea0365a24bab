//! `kiln recipes`: what can be run, and the schema of recipes.

use crate::{
    cli::Recipes,
    modalities,
    recipe_book::{Place, RecipeBook},
};
use kiln_train::{
    failure::{Failure, Result},
    modality::Modality,
    report::table::columns,
};
use serde_json::{Value, json};
use std::{fs, io::Write};

/// Lists recipes, or prints their schema.
pub fn run(args: &Recipes, out: &mut dyn Write) -> Result<()> {
    if let Some(name) = &args.modality {
        modalities::by_name(name)?;
    }
    if args.schema {
        let schema = schema(args.modality.as_deref())?;
        return Ok(writeln!(out, "{schema:#}")?);
    }
    let book = RecipeBook::open(args.dir.as_deref())?;
    let mut found = Vec::new();
    for (name, place) in book.iter() {
        let card = match place {
            Place::Embedded(text) => Card::read(name, text),
            Place::File(path) => {
                let text =
                    fs::read_to_string(path).map_err(|source| Failure::io("read", path, source))?;
                Card::read(name, &text)
            }
        };
        if card.fits(args) {
            found.push(card);
        }
    }
    if args.names {
        for card in &found {
            writeln!(out, "{}", card.name)?;
        }
        return Ok(());
    }
    if found.is_empty() {
        return Ok(writeln!(out, "no recipe fits")?);
    }
    let head = ["recipe", "objectives", "steps", "what it does"].map(str::to_owned);
    let rows: Vec<_> = found.into_iter().map(Card::row).collect();
    write!(out, "{}", columns(&head, &rows, 4))?;
    Ok(writeln!(out, "\n`kiln run <recipe>` runs one, `kiln check <recipe>` only looks at it")?)
}

/// The schema of one modality, or of all: whichever `modality` names.
fn schema(modality: Option<&str>) -> Result<Value> {
    let of = |modality: &Modality| {
        let mut schema = (modality.schema)().to_value();
        if let Some(name) = schema.pointer_mut("/properties/modality") {
            name["const"] = modality.name.into();
        }
        schema
    };
    if let Some(name) = modality {
        return Ok(of(modalities::by_name(name)?));
    }
    if let [one] = modalities::all() {
        return Ok(of(one));
    }
    let all: Vec<_> =
        modalities::all().iter().map(|modality| rooted(of(modality), modality.name)).collect();
    Ok(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Recipe",
        "oneOf": all,
    }))
}

/// A schema that can stand within another: its own root for the references in it.
fn rooted(mut schema: Value, name: &str) -> Value {
    if let Some(object) = schema.as_object_mut() {
        object.insert("$id".into(), format!("urn:kiln:recipe:{name}").into());
    }
    schema
}

/// What is shown of a recipe; a recipe with mistakes is listed too.
#[derive(Debug, Default, PartialEq)]
struct Card {
    name: String,
    modality: String,
    objectives: Vec<String>,
    steps: u64,
    description: String,
}

impl Card {
    fn read(name: &str, text: &str) -> Self {
        let Ok(table) = text.parse::<toml::Table>() else {
            let description = "this file has a mistake: see `kiln check`".to_owned();
            return Self { name: name.to_owned(), description, ..Self::default() };
        };
        let word =
            |key: &str| table.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
        let stages = table.get("stage").and_then(toml::Value::as_array);
        let stages: Vec<_> = stages.into_iter().flatten().collect();
        let mut objectives: Vec<_> = stages
            .iter()
            .filter_map(|stage| match stage.get("objective")? {
                toml::Value::String(name) => Some(name.clone()),
                toml::Value::Table(choice) => choice.keys().next().cloned(),
                _ => None,
            })
            .collect();
        objectives.dedup();
        let steps = |stage: &&toml::Value| stage.get("steps").and_then(toml::Value::as_integer);
        let steps = stages.iter().filter_map(steps).sum::<i64>();
        Self {
            name: name.to_owned(),
            modality: word("modality"),
            objectives,
            steps: u64::try_from(steps).unwrap_or_default(),
            description: word("description"),
        }
    }

    fn fits(&self, args: &Recipes) -> bool {
        let modality = args.modality.as_ref().is_none_or(|wanted| *wanted == self.modality);
        let objective = args.objective.as_ref();
        modality && objective.is_none_or(|wanted| self.objectives.contains(wanted))
    }

    fn row(self) -> Vec<String> {
        let steps = if self.steps == 0 { "-".into() } else { self.steps.to_string() };
        vec![self.name, self.objectives.join(", "), steps, self.description]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_tells_the_essentials() {
        let text = "name='a'\nmodality='timeseries'\ndescription='Learns.'\n\
                    [[stage]]\nsteps=3\nobjective.masked={}\n[[stage]]\nsteps=4\nobjective='forecast'\n";
        let card = Card::read("timeseries/a", text);
        assert_eq!(card.objectives, ["masked", "forecast"]);
        assert_eq!((card.steps, card.modality.as_str()), (7, "timeseries"));
        assert_eq!(card.row()[3], "Learns.");
    }

    #[test]
    fn a_broken_recipe_is_listed_as_such() {
        let card = Card::read("x", "name = ");
        assert!(card.description.contains("mistake"), "{card:?}");
    }
}
