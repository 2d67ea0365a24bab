//! `kiln run`: trains, evaluates, writes a run directory.

use crate::{cli::Run, modalities};
use kiln_train::{
    Outcome, RunOptions,
    failure::{Failure, Result},
    interrupt::Interrupt,
    job::Job,
    recipe::Variant,
    report::table::{comparison_table, cost_table, duration, results_table},
    results::Evaluation,
    run_dir::RunRecord,
    start::RUNS,
    verb::write_file,
};
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// Runs a recipe.
pub fn run(args: &Run, quiet: bool, out: &mut dyn Write) -> Result<()> {
    if let Some(threads) = args.threads {
        use_threads(threads);
    }
    let recipe = args.recipe.read()?;
    let runner = Runner { args, quiet, interrupt: Interrupt::on_signals()? };
    let variants = recipe.chosen_variants(&args.variants.names)?;
    if variants.is_empty() {
        let job = modalities::job(&recipe)?;
        let dir = directory(args, &job.common().name);
        let evaluation = runner.run(job.as_ref(), &dir, args.resume)?;
        write!(out, "{}", results_table(&evaluation.rows))?;
        return Ok(out.write_all(finished(&dir).as_bytes())?);
    }
    runner.compare(&variants, out)
}

/// What all runs of a command share.
struct Runner<'a> {
    args: &'a Run,
    quiet: bool,
    interrupt: Interrupt,
}

impl Runner<'_> {
    fn run(&self, job: &dyn Job, dir: &Path, resume: bool) -> Result<Evaluation> {
        let options = RunOptions {
            resume,
            overwrite: self.args.overwrite,
            note: self.args.note.clone(),
            interrupt: self.interrupt.clone(),
            quiet: self.quiet,
            ..RunOptions::new(dir)
        };
        match kiln_train::run(job, &options)? {
            Outcome::Finished(evaluation) => Ok(evaluation),
            Outcome::Interrupted { step } => {
                eprintln!(
                    "stopped after step {step}; the checkpoint is in {}\ngo on with: {}",
                    dir.join("checkpoints").display(),
                    self::resume(self.args)
                );
                Err(Failure::Interrupted)
            }
        }
    }

    /// Runs the variants of a recipe one after the other, those that are finished not again when
    /// resuming, and prints one table of all.
    fn compare(&self, variants: &[Variant], out: &mut dyn Write) -> Result<()> {
        // All of them are read before the first is run: a mistake in the last costs nothing.
        let named = |variant: &Variant| Ok(modalities::job(&variant.recipe)?.common().name.clone());
        let names = variants.iter().map(named).collect::<Result<Vec<_>>>()?;
        let root = directory(self.args, names.first().map_or("", String::as_str));
        let (mut compared, mut costs) = (Vec::new(), Vec::new());
        for variant in variants {
            let dir = root.join(&variant.directory);
            tracing::info!("variant `{}`, in {}", variant.name, dir.display());
            let job = modalities::job(&variant.in_root(&root)?)?;
            let evaluation = self.run(job.as_ref(), &dir, self.args.resume)?;
            if !variant.hidden {
                compared.push((variant.name.clone(), evaluation.rows));
                costs.push((variant.name.clone(), RunRecord::read(&dir)?.stages));
            }
        }
        let table = format!("{}\n{}", comparison_table(&compared), cost_table(&costs));
        write_file(&root.join("comparison.txt"), &table)?;
        write!(out, "{table}")?;
        Ok(writeln!(out, "\ntable:   {}", root.join("comparison.txt").display())?)
    }
}

fn directory(args: &Run, name: &str) -> PathBuf {
    args.dir.clone().unwrap_or_else(|| Path::new(RUNS).join(name))
}

/// Where to look next.
fn finished(dir: &Path) -> String {
    let took = RunRecord::read(dir).map(|run| format!(" in {}", duration(run.seconds)));
    format!(
        "\nfinished{}\nmodel:   {}\nreport:  {}\n",
        took.unwrap_or_default(),
        dir.join("model").display(),
        dir.join("report.html").display()
    )
}

/// The command that goes on with an interrupted run.
fn resume(args: &Run) -> String {
    let mut words = vec!["kiln".to_owned(), "run".to_owned(), quoted(&args.recipe.recipe)];
    for set in &args.recipe.sets {
        words.extend(["--set".to_owned(), quoted(set)]);
    }
    for variant in &args.variants.names {
        words.extend(["--variant".to_owned(), quoted(variant)]);
    }
    if let Some(device) = args.recipe.device {
        words.extend(["--device".to_owned(), device.name().to_owned()]);
    }
    if let Some(dir) = &args.dir {
        words.extend(["--dir".to_owned(), quoted(&dir.display().to_string())]);
    }
    if let Some(threads) = args.threads {
        words.extend(["--threads".to_owned(), threads.to_string()]);
    }
    words.push("--resume".to_owned());
    words.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |one: char| one.is_ascii_alphanumeric() || "-_./=:,@%+".contains(one);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Limits the threads of the backend, which reads this variable when it starts its pool.
#[allow(unsafe_code)]
fn use_threads(threads: u16) {
    // SAFETY: nothing was started yet, so no other thread can read the environment meanwhile.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn args(words: &[&str]) -> Run {
        let words = ["kiln", "run"].iter().chain(words);
        match Cli::parse_from(words).command {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_resume_command_repeats_what_was_typed() {
        let args = args(&[
            "a b.toml",
            "--set",
            "name='x'",
            "--threads",
            "2",
            "--dir",
            "runs/x",
            "--overwrite",
        ]);
        let expected =
            r"kiln run 'a b.toml' --set 'name='\''x'\''' --dir runs/x --threads 2 --resume";
        assert_eq!(resume(&args), expected);
    }

    #[test]
    fn the_directory_follows_the_name() {
        assert_eq!(directory(&args(&["a"]), "zero-shot"), Path::new("runs/zero-shot"));
        assert_eq!(directory(&args(&["a", "--dir", "d"]), "zero-shot"), Path::new("d"));
    }
}
