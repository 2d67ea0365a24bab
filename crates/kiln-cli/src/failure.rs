//! What went wrong, rendered, and the exit code that says whose it is.

use kiln_datasets::DataError;
use kiln_host::FileError;
use kiln_hub::{HubError, ModelError};
use kiln_lm::generate::GenerationError;
use kiln_speech::{SpeechError, transcribe::TranscribeError};
use kiln_text::{
    annotate::AnnotateError, embed::EmbedError, evaluate::TooLong, labelled::ChatError,
    opened::OpenError,
};
use kiln_timeseries::{
    data::StageDataError, forecast::RequestError, forecaster::ForecastError, measure::MeasureError,
};
use kiln_tokenize::tokenizer::TokenizerError;
use kiln_train::{changes::Refusal, recipe::RecipeError, task::TaskSourceError};
use miette::{Diagnostic, MietteHandlerOpts, Report};
use std::{
    error::Error as StdError,
    fmt,
    io::{self, IsTerminal},
    path::Path,
    process::ExitCode,
};

/// A mistake in what was typed or in a file that was given.
pub const USER: u8 = 2;
/// Everything else that fails.
pub const OTHER: u8 = 1;
/// Stopped by a signal, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// The result of a command.
pub type Result<T> = std::result::Result<T, Failure>;

/// A command that did not succeed.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    report: Option<Report>,
}

impl Failure {
    /// A mistake of the user's, with advice.
    pub fn user(message: impl Into<String>, help: impl Into<String>) -> Self {
        let message = Message { text: message.into(), help: Some(help.into()), source: None };
        Self { code: USER, report: Some(Report::new(message)) }
    }

    /// Something about this machine that is in the way.
    pub fn machine(problems: usize, first: &str) -> Self {
        let text = match problems {
            1 => first.to_owned(),
            _ => format!("{problems} things are in the way; the first: {first}"),
        };
        let message = Message { text, help: None, source: None };
        Self { code: OTHER, report: Some(Report::new(message)) }
    }

    /// The run was interrupted; all there is to say was said.
    pub fn interrupted() -> Self {
        Self { code: INTERRUPTED, report: None }
    }

    /// A file that could not be read or written; one to be read that is not there, or not text, is
    /// the user's.
    pub fn io(action: &str, path: &Path, source: io::Error) -> Self {
        let text = format!("cannot {action} {}", path.display());
        let given = matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData);
        let code = if action == "read" && given { USER } else { OTHER };
        Self::of(Some(text), Box::new(source), code)
    }

    /// The exit code.
    #[cfg(test)]
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Prints the message on standard error and gives the exit code.
    pub fn report(self) -> ExitCode {
        if let Some(report) = self.report {
            eprintln!("{report:?}");
        }
        ExitCode::from(self.code)
    }

    /// Any error; the exit code follows from what caused it.
    fn of(text: Option<String>, error: Box<dyn StdError + Send + Sync>, fallback: u8) -> Self {
        let code = if is_users(error.as_ref()) { USER } else { fallback };
        let message = match text {
            Some(text) => Message { text, help: None, source: Some(error) },
            None => Message::from_error(error),
        };
        Self { code, report: Some(Report::new(message)) }
    }
}

/// How reports look: once, before anything can fail.
pub fn install() {
    let terminal = io::stderr().is_terminal();
    // Elsewhere than on a terminal lines stay whole, so that messages can be searched.
    let _ = miette::set_hook(Box::new(move |_| {
        Box::new(MietteHandlerOpts::new().wrap_lines(terminal).context_lines(2).build())
    }));
}

impl From<RecipeError> for Failure {
    fn from(error: RecipeError) -> Self {
        Self { code: USER, report: Some(Report::new(error)) }
    }
}

impl From<kiln_train::Error> for Failure {
    fn from(error: kiln_train::Error) -> Self {
        use kiln_train::Error;
        match error {
            Error::Recipe(error) => error.into(),
            Error::Hub(error) => error.into(),
            // A modality's own errors come boxed; a recipe's mistake keeps its place in the text.
            Error::Task(error) => match error.downcast::<RecipeError>() {
                Ok(error) => (*error).into(),
                Err(error) => match error.downcast::<Error>() {
                    Ok(error) => (*error).into(),
                    Err(error) => Self::of(None, error, OTHER),
                },
            },
            other => {
                let help = advice(&other);
                let mut failure = Self::of(None, Box::new(other), OTHER);
                if let (Some(report), Some(help)) = (&mut failure.report, help)
                    && let Some(message) = report.downcast_mut::<Message>()
                {
                    message.help = Some(help.to_owned());
                }
                failure
            }
        }
    }
}

/// What can be typed to get around an error of the trainer.
fn advice(error: &kiln_train::Error) -> Option<&'static str> {
    use kiln_train::Error;
    match error {
        Error::RunExists { finished: true, .. } => {
            Some("--overwrite deletes it and begins anew, --dir DIR takes another directory")
        }
        Error::RunExists { .. } => Some(
            "--resume goes on with it, --overwrite deletes it and begins anew, --dir DIR takes \
             another directory",
        ),
        Error::OtherRecipe { why: Refusal::NoNote, .. } => {
            Some("--note WHY goes on with the changed recipe, --dir DIR takes another directory")
        }
        Error::NotARun { .. } | Error::OtherRecipe { .. } => {
            Some("--dir DIR takes another directory")
        }
        _ => None,
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::of(None, Box::new(error), OTHER)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::io(error.action, &error.path, error.source)
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        Self::of(None, Box::new(error), USER)
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::of(None, Box::new(error), OTHER)
    }
}

impl From<SpeechError> for Failure {
    fn from(error: SpeechError) -> Self {
        Self::of(None, Box::new(error), USER)
    }
}

impl From<TokenizerError> for Failure {
    fn from(error: TokenizerError) -> Self {
        match error {
            TokenizerError::File(error) => error.into(),
            TokenizerError::Data(error) => error.into(),
            other => Self::of(None, Box::new(other), USER),
        }
    }
}

impl From<TranscribeError> for Failure {
    fn from(error: TranscribeError) -> Self {
        match error {
            TranscribeError::Data(error) => error.into(),
            TranscribeError::Model(error) => kiln_train::Error::from(error).into(),
            other => Self::of(None, Box::new(other), OTHER),
        }
    }
}

impl From<io::Error> for Failure {
    /// Only standard output is written without a path.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            // Whoever read has read enough.
            return Self { code: 0, report: None };
        }
        Self::of(Some("cannot write to standard output".into()), Box::new(error), OTHER)
    }
}

/// Whether a chain of causes begins with something that the user gave.
fn is_users(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<kiln_train::Error>() {
            use kiln_train::Error;
            match error {
                Error::Recipe(_)
                | Error::Adapt(_)
                | Error::Setting { .. }
                | Error::NoSuchParameter { .. }
                | Error::OtherShape { .. }
                | Error::NothingToTrain
                | Error::NoExamples
                | Error::RunExists { .. }
                | Error::NotARun { .. }
                | Error::OtherRecipe { .. } => return true,
                Error::Hub(error) => return is_users(error),
                Error::Task(error) => return is_users(error.as_ref()),
                _ => {}
            }
        }
        if let Some(error) = error.downcast_ref::<HubError>() {
            return match error {
                HubError::Io { action, source, .. } => is_missing(action, source),
                HubError::Offline { .. }
                | HubError::Unreachable { .. }
                | HubError::Interrupted { .. }
                | HubError::Server { .. }
                | HubError::Rule { .. }
                | HubError::Tensor { .. } => false,
                _ => true,
            };
        }
        if let Some(error) = error.downcast_ref::<RequestError>() {
            return !matches!(error, RequestError::Forecast(ForecastError::Model(_)));
        }
        if let Some(error) = error.downcast_ref::<ForecastError>() {
            return !matches!(error, ForecastError::Model(_));
        }
        // These pass on what they hold without being its cause.
        if let Some(error) = error.downcast_ref::<ModelError>() {
            return match error {
                ModelError::Hub(error) => is_users(error),
                _ => true,
            };
        }
        if let Some(error) = error.downcast_ref::<OpenError>() {
            return match error {
                OpenError::Model(error) => is_users(error),
                _ => true,
            };
        }
        if let Some(error) = error.downcast_ref::<EmbedError>() {
            return match error {
                EmbedError::Hub(error) => is_users(error),
                EmbedError::Open(error) => is_users(error),
                EmbedError::Device(_) | EmbedError::Output(_) | EmbedError::Interrupted => false,
                _ => true,
            };
        }
        if let Some(MeasureError::Data(_)) = error.downcast_ref::<MeasureError>() {
            return true;
        }
        if let Some(TaskSourceError(error)) = error.downcast_ref::<TaskSourceError>() {
            return is_users(error.as_ref());
        }
        let speech = error.is::<SpeechError>() || error.is::<kiln_speech::data::StageDataError>();
        let text = error.is::<kiln_text::data_error::StageDataError>()
            || error.is::<TokenizerError>()
            || error.is::<GenerationError>()
            || error.is::<AnnotateError>()
            || error.is::<ChatError>()
            || error.is::<TooLong>();
        if speech
            || text
            || error.is::<RecipeError>()
            || error.is::<DataError>()
            || error.is::<StageDataError>()
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn is_missing(action: &str, source: &io::Error) -> bool {
    action == "read" && source.kind() == io::ErrorKind::NotFound
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
    use kiln_train::Error;
    use std::path::PathBuf;

    fn missing() -> io::Error {
        io::ErrorKind::NotFound.into()
    }

    #[test]
    fn whose_mistake_it_is() {
        let user: [Failure; 6] = [
            RecipeError::new(Path::new("a.toml"), "wrong").into(),
            Error::Task(Box::new(RecipeError::new(Path::new("a.toml"), "wrong"))).into(),
            Error::Task(Box::new(DataError::NotFound { path: "x.csv".into(), nearest: None }))
                .into(),
            Error::RunExists { dir: "runs/a".into(), finished: true }.into(),
            HubError::NoWeights { dir: "m".into() }.into(),
            RequestError::NoSeries.into(),
        ];
        for failure in user {
            assert_eq!(failure.code(), USER, "{failure:?}");
        }
        let other: [Failure; 4] = [
            Error::Device("lost".into()).into(),
            Error::Io { action: "write", path: "x".into(), source: missing() }.into(),
            HubError::Io { action: "write", path: "x".into(), source: missing() }.into(),
            RequestError::Forecast(ForecastError::Model("x".into())).into(),
        ];
        for failure in other {
            assert_eq!(failure.code(), OTHER, "{failure:?}");
        }
    }

    #[test]
    fn a_data_error_deep_inside_is_still_the_users() {
        let data = DataError::NotFound { path: "x.csv".into(), nearest: None };
        let error = Error::Example { index: 3, source: Box::new(data) };
        assert_eq!(Failure::from(error).code(), USER);
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
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.code(), 0);
        assert!(failure.report.is_none());
    }
}
