//! `kiln evaluate`: measures a model as a recipe says.

use crate::{
    cli::Evaluate,
    modalities, models,
    recipe_book::{RecipeBook, overrides},
};
use kiln_train::{
    failure::{Failure, Result},
    recipe::RecipeText,
    report::table::results_table,
    verb::write_file,
};
use std::io::Write;

/// Evaluates a model, prints a table, writes JSON where it was asked for.
pub fn run(args: &Evaluate, out: &mut dyn Write) -> Result<()> {
    let text = recipe(args)?;
    let job = modalities::job(&text)?;
    if job.common().evaluation.is_empty() {
        return Err(Failure::user(
            format!("{} has no [[evaluation]]", text.path.display()),
            "name a recipe that has one: `kiln recipes` lists them",
        ));
    }
    let model = models::find(&args.model)?;
    tracing::info!("evaluating {}", model.path.display());
    let evaluation = job.evaluate(&model.path)?;
    write!(out, "{}", results_table(&evaluation.rows))?;
    if let Some(path) = &args.out {
        let text = serde_json::to_string_pretty(&evaluation.rows)
            .map_err(|error| Failure::io("write", path, error.into()))?;
        write_file(path, &format!("{text}\n"))?;
    }
    Ok(())
}

/// The recipe that was named, or the one that the run was made with.
fn recipe(args: &Evaluate) -> Result<RecipeText> {
    let sets = overrides(&args.sets, args.device);
    if let Some(recipe) = &args.recipe {
        return RecipeBook::open(None)?.read(recipe, &sets);
    }
    match models::run_dir(&args.model) {
        Some(dir) => Ok(RecipeText::read(&dir.join("recipe.toml"), &sets)?),
        None => Err(Failure::user(
            format!("`{}` is no run, so nothing says how to evaluate it", args.model),
            "add a recipe: kiln evaluate --model MODEL RECIPE",
        )),
    }
}
