//! Commands of the binary that modalities declare: `kiln forecast`, `kiln embed`.

use crate::{
    failure::{Failure, Result},
    start::RUNS,
};
use clap::{ArgMatches, Parser};
use indicatif::{ProgressBar, ProgressStyle};
use kiln_hub::ModelDir;
use std::{
    io::{IsTerminal as _, Write},
    path::Path,
    time::Duration,
};

/// A command that a modality declares.
#[derive(Clone, Copy, Debug)]
pub struct Verb {
    /// The command that it is below, if any.
    pub group: Option<Group>,
    /// Its name, arguments and help.
    pub command: fn() -> clap::Command,
    /// Runs it with what was typed.
    pub run: fn(&ArgMatches, &mut VerbContext<'_>) -> Result<()>,
}

/// A command with commands of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// Its line of help.
    pub about: &'static str,
}

/// `kiln data`.
pub const DATA: Group = Group { name: "data", about: "Prepare data for training" };

/// The arguments of a verb, which run it.
pub trait RunVerb: Parser {
    /// Runs it. Results go to [`VerbContext::out`], everything else to standard error.
    ///
    /// # Errors
    /// When it fails.
    fn run(&self, context: &mut VerbContext<'_>) -> Result<()>;
}

impl Verb {
    /// A verb by its arguments.
    pub const fn new<V: RunVerb>() -> Self {
        Self { group: None, command: V::command, run: run::<V> }
    }

    /// The same below a command.
    pub const fn within<V: RunVerb>(group: Group) -> Self {
        Self { group: Some(group), command: V::command, run: run::<V> }
    }
}

fn run<V: RunVerb>(matches: &ArgMatches, context: &mut VerbContext<'_>) -> Result<()> {
    V::from_arg_matches(matches)?.run(context)
}

/// What a verb is run with.
pub struct VerbContext<'a> {
    /// Say nothing but errors on standard error.
    pub quiet: bool,
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// The name of the modality that a model belongs to, or an error where none reads its type.
    pub owner: fn(&ModelDir) -> Result<&'static str>,
}

impl VerbContext<'_> {
    /// Finds a model of a modality, given by name, by run, directory or hub id. Of another modality's
    /// a message says that it `lacks` what was asked for, and wants one `trained_on` what the
    /// modality is of.
    ///
    /// # Errors
    /// When there is none, or it is of another modality.
    pub fn model(
        &self,
        spec: &str,
        modality: &str,
        lacks: &str,
        trained_on: &str,
    ) -> Result<ModelDir> {
        let model = kiln_hub::resolve(spec, Path::new(RUNS))?;
        let owner = (self.owner)(&model)?;
        if owner == modality {
            return Ok(model);
        }
        Err(Failure::user(
            format!("{} {lacks}: it is for {owner}", model.path.display()),
            format!("name a model that was trained on {trained_on}"),
        ))
    }

    /// A spinner for a message, on a terminal.
    pub fn spinner(&self) -> ProgressBar {
        let bar = ProgressBar::new_spinner();
        self.styled(bar, "{spinner} {msg}, {elapsed}", |bar| {
            bar.enable_steady_tick(Duration::from_millis(200));
        })
    }

    /// A bar of a length in some unit, on a terminal.
    pub fn bar(&self, message: String, unit: &str) -> ProgressBar {
        let bar = ProgressBar::new(0).with_message(message);
        self.styled(bar, &format!("{{msg}} {{wide_bar}} {{pos}}/{{len}} {unit}, {{eta}}"), |_| ())
    }

    fn styled(&self, bar: ProgressBar, template: &str, show: fn(&ProgressBar)) -> ProgressBar {
        if self.quiet || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        show(&bar);
        bar
    }
}

/// Writes a file that was asked for, in full or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_file(path: &Path, text: &str) -> Result<()> {
    Ok(kiln_host::write_atomic(path, |out| out.write_all(text.as_bytes()))?)
}
