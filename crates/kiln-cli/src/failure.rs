//! What went wrong, rendered, and the exit code that says whose it is.

use crate::modalities;
use kiln_core::blame::is_users;
use kiln_train::{Error, Refusal, failure::Failure, recipe::RecipeError};
use miette::{Diagnostic, MietteHandlerOpts, Report};
use std::{
    error::Error as StdError,
    fmt,
    io::{self, IsTerminal},
    process::ExitCode,
};

/// A mistake in what was typed or in a file that was given.
pub const USER: u8 = 2;
/// Everything else that fails.
pub const OTHER: u8 = 1;
/// Stopped by a signal, as shells have it.
pub const INTERRUPTED: u8 = 130;

type Boxed = Box<dyn StdError + Send + Sync>;

/// Prints a failure on standard error and gives the exit code.
pub fn report(failure: Failure) -> ExitCode {
    let (code, report) = rendered(failure);
    if let Some(report) = report {
        eprintln!("{report:?}");
    }
    ExitCode::from(code)
}

/// How reports look: once, before anything can fail.
pub fn install() {
    let terminal = io::stderr().is_terminal();
    // Elsewhere than on a terminal lines stay whole, so that messages can be searched.
    let _ = miette::set_hook(Box::new(move |_| {
        Box::new(MietteHandlerOpts::new().wrap_lines(terminal).context_lines(2).build())
    }));
}

/// The exit code of a failure, and what is to be said, if anything.
fn rendered(failure: Failure) -> (u8, Option<Report>) {
    let message = |text: String, help, source| Report::new(Message { text, help, source });
    match failure {
        Failure::User { message: text, help } => (USER, Some(message(text, Some(help), None))),
        Failure::Machine(text) => (OTHER, Some(message(text, None, None))),
        Failure::Interrupted => (INTERRUPTED, None),
        Failure::File { action, path, source } => {
            let given =
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData);
            let code = if action == "read" && given { USER } else { OTHER };
            let text = format!("cannot {action} {}", path.display());
            (code, Some(message(text, None, Some(source.into()))))
        }
        Failure::Error(error) => match unwrapped(error) {
            Ok(recipe) => (USER, Some(Report::new(recipe))),
            Err(error) => match error.downcast_ref::<io::Error>().map(io::Error::kind) {
                // Whoever read has read enough.
                Some(io::ErrorKind::BrokenPipe) => (0, None),
                // Only standard output is written without a path.
                Some(_) => {
                    let text = "cannot write to standard output".into();
                    (OTHER, Some(message(text, None, Some(error))))
                }
                None => {
                    let users = is_users(error.as_ref(), &modalities::errors());
                    let help = error.downcast_ref().and_then(advice).map(str::to_owned);
                    let message = Message { help, ..Message::from_error(error) };
                    (if users { USER } else { OTHER }, Some(Report::new(message)))
                }
            },
        },
    }
}

/// The error itself, without what only passes it on; a recipe's mistake keeps its place in the text.
fn unwrapped(error: Boxed) -> Result<RecipeError, Boxed> {
    let error = match error.downcast::<RecipeError>() {
        Ok(recipe) => return Ok(*recipe),
        Err(error) => error,
    };
    match error.downcast::<Error>().map(|error| *error) {
        Ok(Error::Recipe(recipe)) => Ok(recipe),
        Ok(Error::Task(inner)) => unwrapped(inner),
        Ok(Error::Hub(inner)) => Err(inner.into()),
        Ok(other) => Err(other.into()),
        Err(error) => Err(error),
    }
}

/// What can be typed, or changed in the recipe, to get around an error of the trainer.
fn advice(error: &Error) -> Option<&'static str> {
    match error {
        Error::RunExists { finished: true, .. } => {
            Some("--overwrite deletes it and starts over, --dir DIR takes another directory")
        }
        Error::RunExists { .. } => Some(
            "--resume goes on with it, --overwrite deletes it and starts over, --dir DIR takes \
             another directory",
        ),
        Error::OtherRecipe { why: Refusal::NoNote, .. } => {
            Some("--note WHY goes on with the changed recipe, --dir DIR takes another directory")
        }
        Error::NotARun { .. } | Error::OtherRecipe { .. } => {
            Some("--dir DIR takes another directory")
        }
        Error::NothingToPredict { .. } => Some(
            "check that the data has the labels or answers that `objective` asks for; raise the \
             data's `length` where texts are cut off before what is to be predicted, or mask more",
        ),
        _ => None,
    }
}

/// A message for miette: text, causes, advice.
#[derive(Debug)]
struct Message {
    text: String,
    help: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Message {
    /// An error's text; its causes follow it.
    fn from_error(error: Box<dyn StdError + Send + Sync>) -> Self {
        let text = error.to_string();
        let source = error.source().map(|source| {
            // Causes are borrowed from the error: they are kept as text.
            let mut causes = vec![source.to_string()];
            let mut cause = source.source();
            while let Some(next) = cause {
                causes.push(next.to_string());
                cause = next.source();
            }
            causes.retain(|cause| !text.contains(cause.as_str()));
            causes
        });
        let source = source.and_then(|causes| {
            causes.into_iter().rev().fold(None, |source, text| {
                Some(Box::new(Self { text, help: None, source }) as Box<dyn StdError + Send + Sync>)
            })
        });
        Self { text, help: None, source }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl StdError for Message {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}

impl Diagnostic for Message {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_datasets::DataError;
    use kiln_hub::HubError;
    use std::path::{Path, PathBuf};

    fn code(failure: impl Into<Failure>) -> u8 {
        rendered(failure.into()).0
    }

    fn missing() -> io::Error {
        io::ErrorKind::NotFound.into()
    }

    #[test]
    fn whose_mistake_it_is() {
        let user = [
            code(RecipeError::new(Path::new("a.toml"), "wrong")),
            code(Error::Task(Box::new(RecipeError::new(Path::new("a.toml"), "wrong")))),
            code(Error::Task(Box::new(DataError::NotFound {
                path: "x.csv".into(),
                nearest: None,
            }))),
            code(Error::RunExists { dir: "runs/a".into(), finished: true }),
            code(Error::NothingToPredict { stage: "dpo".into(), steps: 12 }),
            code(HubError::NoWeights { dir: "m".into() }),
            code(Failure::io("read", Path::new("x"), missing())),
        ];
        assert_eq!(user, [USER; 7]);
        let other = [
            code(Error::Device("lost".into())),
            code(Error::Io { action: "write", path: "x".into(), source: missing() }),
            code(HubError::Io { action: "write", path: "x".into(), source: missing() }),
            code(Failure::io("write", Path::new("x"), missing())),
        ];
        assert_eq!(other, [OTHER; 4]);
    }

    #[test]
    fn a_data_error_deep_inside_is_still_the_users() {
        let data = DataError::NotFound { path: "x.csv".into(), nearest: None };
        assert_eq!(code(Error::Example { index: 3, source: Box::new(data) }), USER);
    }

    #[test]
    fn a_stage_without_targets_is_told_what_to_change() {
        let error = Error::NothingToPredict { stage: "dpo".into(), steps: 12 };
        let report = rendered(error.into()).1.unwrap();
        assert!(report.to_string().contains("none of its 12 steps"), "{report}");
        let help = report.help().unwrap().to_string();
        assert!(help.contains("`length`"), "{help}");
    }

    #[test]
    fn causes_are_shown_once() {
        let source = io::Error::other("disk on fire");
        let error = Error::Io { action: "write", path: PathBuf::from("x"), source };
        let message = Message::from_error(Box::new(error));
        assert_eq!(message.to_string(), "cannot write x");
        assert_eq!(message.source().unwrap().to_string(), "disk on fire");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let (code, report) = rendered(io::Error::from(io::ErrorKind::BrokenPipe).into());
        assert_eq!(code, 0);
        assert!(report.is_none());
    }
}
