//! `kiln check`: what a recipe would take, without training.

use crate::{
    cli::Check,
    modalities,
    units::{bytes, count},
};
use kiln_train::{
    failure::Result,
    job::StagePlan,
    recipe::{Common, RecipeText},
    report::table::columns,
};
use std::io::Write;

/// Resolves a recipe and prints a line a stage.
pub fn run(args: &Check, out: &mut dyn Write) -> Result<()> {
    let recipe = args.recipe.read()?;
    let variants = recipe.chosen_variants(&args.variants.names)?;
    if variants.is_empty() {
        return check(args, &recipe, out);
    }
    for variant in &variants {
        writeln!(out, "# variant: {}", variant.name)?;
        check(args, &variant.recipe, out)?;
        writeln!(out)?;
    }
    Ok(())
}

fn check(args: &Check, recipe: &RecipeText, out: &mut dyn Write) -> Result<()> {
    let job = modalities::job(recipe)?;
    let resolved = job.resolved()?;
    if args.resolved {
        return Ok(out.write_all(resolved.as_bytes())?);
    }
    let common = job.common();
    writeln!(out, "{} ({})", common.name, common.modality)?;
    if !common.description.is_empty() {
        writeln!(out, "{}", common.description)?;
    }
    writeln!(out)?;
    let (head, rows) = table(common, &job.plan()?);
    write!(out, "{}", columns(&head, &rows, 1))?;
    Ok(writeln!(out, "\nthe recipe is valid; memory and work are estimates")?)
}

fn table(common: &Common, plan: &[StagePlan]) -> (Vec<String>, Vec<Vec<String>>) {
    let head =
        ["stage", "steps", "batch", "examples", "parameters", "trained", "memory", "FLOP a step"];
    let rows = plan.iter().zip(&common.stage).map(|(plan, stage)| {
        vec![
            plan.name.clone(),
            stage.steps.to_string(),
            (stage.batch as u64 * stage.accumulate).to_string(),
            plan.examples.map_or_else(|| "generated".into(), |examples| examples.to_string()),
            count(plan.parameters as f64),
            count(plan.trainable as f64),
            bytes(plan.memory),
            count(plan.flops_per_step),
        ]
    });
    (head.map(str::to_owned).to_vec(), rows.collect())
}
