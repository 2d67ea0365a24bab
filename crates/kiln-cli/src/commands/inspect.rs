//! `kiln inspect`: what a run or a model holds, where it is from, and how well it learned.

use crate::{
    cli::Inspect,
    models,
    units::{bytes, count},
};
use kiln_hub::ModelDir;
use kiln_train::{
    failure::{Failure, Result},
    logs::{self, told},
    report::table::{columns, duration, number, results_table},
    results::ResultRow,
    run_dir::{RunRecord, StageRecord, Status},
};
use serde_json::json;
use std::{
    fs,
    io::{self, Write},
    path::Path,
};

/// Prints what a run or a model holds.
pub fn run(args: &Inspect, out: &mut dyn Write) -> Result<()> {
    // A model within a run is looked at as a model; its run is one word away.
    let run = models::run_dir(&args.what).filter(|dir| is_same(dir, &args.what));
    match run {
        Some(dir) => of_run(&dir, args.json, out),
        None => of_model(&models::find(&args.what)?, args.json, out),
    }
}

fn is_same(dir: &Path, what: &str) -> bool {
    let ends = |path: &Path| path.components().next_back().map(|part| part.as_os_str().to_owned());
    ends(dir) == ends(Path::new(what))
}

fn of_run(dir: &Path, as_json: bool, out: &mut dyn Write) -> Result<()> {
    let record = RunRecord::read(dir)?;
    let (rows, logbook) = (results(dir)?, logs::logbook(dir));
    if as_json {
        let mut value = serde_json::to_value(&record)
            .map_err(|error| Failure::io("read", &dir.join("run.json"), error.into()))?;
        value["logbook"] = json!(logbook);
        value["results"] = json!(rows);
        return Ok(writeln!(out, "{value:#}")?);
    }
    head(&record, dir, out)?;
    stages(&record.stages, out)?;
    let model = dir.join("model");
    if model.join("config.json").exists() {
        writeln!(out, "\nmodel {}", model.display())?;
        facts(&ModelDir::open(&model)?, out)?;
    }
    for stage in record.stages.iter().filter(|stage| !stage.diagnostics.is_empty()) {
        writeln!(out, "\ndiagnostics of {}", stage.name)?;
        for (name, value) in &stage.diagnostics {
            writeln!(out, "  {name:<22} {}", number(*value))?;
        }
    }
    writeln!(out, "\nwarnings{}", if record.warnings.is_empty() { ": none" } else { "" })?;
    for warning in &record.warnings {
        writeln!(out, "  step {}: {}: {}", warning.step, warning.diagnostic, warning.message)?;
        writeln!(out, "    likely cause: {}; change `{}`", warning.cause, warning.key)?;
    }
    if !logbook.is_empty() {
        writeln!(out, "\nlogbook")?;
    }
    for [time, step, text] in told(&logbook) {
        writeln!(out, "  {time}  step {step:<6} {text}")?;
    }
    if !rows.is_empty() {
        write!(out, "\n{}", results_table(&rows))?;
    }
    Ok(())
}

fn head(record: &RunRecord, dir: &Path, out: &mut dyn Write) -> Result<()> {
    let status = match record.status {
        Status::Running => "running, or killed: `kiln run ... --resume` goes on",
        Status::Interrupted => "interrupted: `kiln run ... --resume` goes on",
        Status::Failed => "failed",
        Status::Finished => "finished",
    };
    writeln!(out, "run {} ({}): {status}", record.name, record.modality)?;
    if let Some(error) = &record.error {
        writeln!(out, "  error      {error}")?;
    }
    writeln!(out, "  directory  {}", dir.display())?;
    let ended = record.ended.as_deref().unwrap_or("not yet");
    writeln!(out, "  started    {}, ended {ended}", record.started)?;
    if record.resumed > 0 {
        writeln!(out, "  resumed    {} times", record.resumed)?;
    }
    let timings: Vec<_> =
        record.timings.iter().map(|(name, took)| format!("{name} {}", duration(*took))).collect();
    writeln!(out, "  took       {} ({})", duration(record.seconds), timings.join(", "))?;
    writeln!(out, "  device     {}, {} threads", record.device, record.threads)?;
    if let Some(memory) = record.peak_memory_bytes {
        writeln!(out, "  memory     {} at most", bytes(memory as f64))?;
    }
    writeln!(out, "  seed       {}", record.seed)?;
    let versions: Vec<_> =
        record.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    Ok(writeln!(out, "  versions   {}", versions.join(", "))?)
}

fn stages(stages: &[StageRecord], out: &mut dyn Write) -> Result<()> {
    let head = [
        "stage", "steps", "skipped", "time", "tokens", "FLOP", "trained", "frozen", "loss", "best",
    ]
    .map(str::to_owned);
    let rows: Vec<_> = stages
        .iter()
        .map(|stage| {
            let early = if stage.stopped_early { " (early)" } else { "" };
            let best = stage.best.as_ref().map(|best| number(best.value));
            vec![
                stage.name.clone(),
                format!("{}{early}", stage.steps),
                stage.bad_steps.to_string(),
                duration(stage.seconds),
                count(stage.tokens as f64),
                count(stage.flops),
                count(stage.trainable as f64),
                count(stage.frozen as f64),
                stage.loss.map_or_else(|| "-".into(), number),
                best.unwrap_or_else(|| "-".into()),
            ]
        })
        .collect();
    write!(out, "\n{}", columns(&head, &rows, 1))?;
    for (stage, init) in stages.iter().filter_map(|stage| Some((stage, stage.init.as_ref()?))) {
        let name = &stage.name;
        writeln!(out, "\n{name} started from {}: {} tensors", init.from, init.loaded)?;
        for (what, names) in [
            ("not in the file", &init.missing),
            ("not used", &init.unused),
            ("of another shape", &init.mismatched),
        ] {
            if !names.is_empty() {
                writeln!(out, "  {} {what}: {}", names.len(), names.join(", "))?;
            }
        }
    }
    Ok(())
}

/// The numbers of `results.json`; none when the run did not get there.
fn results(dir: &Path) -> Result<Vec<ResultRow>> {
    let path = dir.join("results.json");
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| Failure::io("understand", &path, error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::io("read", &path, error)),
    }
}

fn of_model(model: &ModelDir, as_json: bool, out: &mut dyn Write) -> Result<()> {
    if as_json {
        let value = json!({
            "path": model.path,
            "model_type": model.model_type(),
            "parameters": model.parameters()?,
            "config": model.config,
        });
        return Ok(writeln!(out, "{value:#}")?);
    }
    writeln!(out, "model {}", model.path.display())?;
    facts(model, out)
}

fn facts(model: &ModelDir, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "  {:<22} {}", "type", model.model_type())?;
    // A model that nothing here can run still has a size.
    let modality = models::owner(model).ok();
    if let Some(modality) = modality {
        writeln!(out, "  {:<22} {}", "modality", modality.name)?;
    }
    writeln!(out, "  {:<22} {}", "parameters", model.parameters()?)?;
    let facts = modality.map(|modality| (modality.facts)(&model.path)).transpose()?;
    for (name, value) in facts.unwrap_or_default() {
        writeln!(out, "  {name:<22} {value}")?;
    }
    Ok(())
}
