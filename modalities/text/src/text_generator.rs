//! Text generation with a model directory, streamed: prompts in, text out.

use crate::{labelled::ChatTemplate, opened};
use kiln_core::{AutodiffBackend, Seed};
use kiln_datasets::labelled::{Message, Role};
use kiln_lm::generate::{Generation, Verdict};
use kiln_nn::quantized;
use kiln_tokenize::{TextTokenizer, tokenizer::TokenizerError};
use kiln_train::{
    dispatch::{self, OnBackend},
    recipe::Device,
    task::TaskError,
};
use std::path::Path;

/// A generation request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// The prompts.
    pub prompts: Vec<String>,
    /// Whether prompts are user messages of conversations, by the model's chat template.
    pub chat: Option<Chat>,
    /// Decoding settings.
    pub generation: Generation,
    /// Stop strings: a text ends before the first of them.
    pub stop: Vec<String>,
    /// The sampling seed.
    pub seed: u64,
    /// Whether weights of linear layers are int8.
    pub int8: bool,
}

/// Chat settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chat {
    /// The system prompt.
    pub system: Option<String>,
}

/// Generates texts, without their prompts; `watch` is called with each new piece and the number of
/// its prompt.
///
/// # Errors
/// When the model cannot be read or does not generate, or a prompt does not fit it.
pub fn generate(
    model: &Path,
    device: Device,
    request: &Request,
    watch: &mut dyn FnMut(usize, &str),
) -> Result<Vec<String>, TaskError> {
    dispatch::on(device, Work { model, request, watch })?
}

/// A generation that waits for its backend.
struct Work<'a> {
    model: &'a Path,
    request: &'a Request,
    watch: &'a mut dyn FnMut(usize, &str),
}

impl OnBackend for Work<'_> {
    type Output = Result<Vec<String>, TaskError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let Self { model, request, watch } = self;
        let (tokenizer, model) = opened::open::<B::InnerBackend>(model, &device)?;
        let model = if request.int8 { quantized(model) } else { model };
        let (prompts, end) = match &request.chat {
            Some(chat) => conversations(&tokenizer, &request.prompts, chat)?,
            None => (raw(&tokenizer, &request.prompts, model.config().decoder.is_some())?, None),
        };
        let (end, stop) = match end {
            Some(Ending::Token(id)) => (Some(id), None),
            Some(Ending::Text(text)) => (None, Some(text)),
            None => (None, None),
        };
        let stop: Vec<String> = request.stop.iter().cloned().chain(stop).collect();
        let mut texts: Vec<Growing> = vec![Growing::default(); prompts.len()];
        let mut failure = None;
        model.generate(
            &prompts,
            &request.generation,
            Seed::new(request.seed),
            &device,
            |number, id| {
                let Some(text) = texts.get_mut(number).filter(|_| Some(id) != end) else {
                    return Verdict::Stop;
                };
                text.ids.push(id);
                match tokenizer.decode(&text.ids, true) {
                    Ok(decoded) => text.grow(&decoded, &stop, |piece| watch(number, piece)),
                    Err(error) => {
                        failure = Some(error);
                        Verdict::Stop
                    }
                }
            },
        )?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        Ok(texts
            .into_iter()
            .enumerate()
            .map(|(number, text)| text.finish(|piece| watch(number, piece)))
            .collect())
    }
}

/// The ids of raw prompts; `reads`: whether an encoder reads them.
fn raw(
    tokenizer: &TextTokenizer,
    prompts: &[String],
    reads: bool,
) -> Result<Vec<Vec<u32>>, TokenizerError> {
    let ids = prompts.iter().map(|prompt| {
        let mut ids = tokenizer.encode(prompt, true)?.get_ids().to_vec();
        // The source of an encoder-decoder gets its end token; a prompt to continue does not.
        if !reads && ids.last().copied() == tokenizer.end() {
            ids.pop();
        }
        Ok(ids)
    });
    ids.collect()
}

/// How an answer in a conversation ends.
enum Ending {
    Token(u32),
    Text(String),
}

/// The ids of prompts as what a user says, up to where the assistant begins, and how its answers
/// end.
fn conversations(
    tokenizer: &TextTokenizer,
    prompts: &[String],
    chat: &Chat,
) -> Result<(Vec<Vec<u32>>, Option<Ending>), TaskError> {
    let template = ChatTemplate::trained(tokenizer)?;
    let system = chat.system.iter().map(|text| Message::new(Role::System, text));
    let system: Vec<Message> = system.collect();
    let mut found = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let messages = system.iter().cloned().chain([Message::new(Role::User, prompt)]);
        let text = template.render(&messages.collect::<Vec<_>>(), true)?;
        // The template adds the special tokens around texts, too.
        found.push(tokenizer.encode(&text, false)?.get_ids().to_vec());
    }
    let ending = template.ending()?;
    let end = match tokenizer.encode(&ending, false)?.get_ids() {
        [] => None,
        [id] => Some(Ending::Token(*id)),
        _ => Some(Ending::Text(ending)),
    };
    Ok((found, end))
}

/// A text under generation.
#[derive(Debug, Clone, Default)]
struct Growing {
    ids: Vec<u32>,
    text: String,
    /// Bytes of it that were shown.
    shown: usize,
    done: bool,
}

impl Growing {
    /// Takes over the text so far, and emits what will not change any more: not half a
    /// character, nor what may become a stop.
    fn grow(&mut self, decoded: &str, stop: &[String], show: impl FnMut(&str)) -> Verdict {
        let end = stop.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| decoded.find(stop));
        if let Some(end) = end.min() {
            self.text = decoded[..end].to_owned();
            self.done = true;
            self.show(self.text.len(), show);
            return Verdict::Stop;
        }
        self.text = decoded.to_owned();
        let whole = decoded.trim_end_matches('\u{fffd}').len();
        let held = stop.iter().map(|stop| beginning_at_end(&decoded[..whole], stop)).max();
        self.show(whole - held.unwrap_or(0), show);
        Verdict::GoOn
    }

    fn show(&mut self, until: usize, mut show: impl FnMut(&str)) {
        if let Some(piece) = self.text.get(self.shown..until)
            && !piece.is_empty()
        {
            show(piece);
            self.shown = until;
        }
    }

    fn finish(mut self, show: impl FnMut(&str)) -> String {
        if !self.done {
            self.show(self.text.len(), show);
        }
        self.text
    }
}

/// Bytes at the end of a text that a stop may begin with.
fn beginning_at_end(text: &str, stop: &str) -> usize {
    let longest = stop.len().saturating_sub(1).min(text.len());
    (1..=longest)
        .rev()
        .find(|length| text.as_bytes().ends_with(&stop.as_bytes()[..*length]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown, piece by piece, of a text that grows by characters.
    fn shown(text: &str, stop: &[&str]) -> (Vec<String>, String) {
        let stop: Vec<String> = stop.iter().map(|stop| (*stop).to_owned()).collect();
        let (mut growing, mut pieces) = (Growing::default(), Vec::new());
        for (at, character) in text.char_indices() {
            let decoded = &text[..at + character.len_utf8()];
            if growing.grow(decoded, &stop, |piece| pieces.push(piece.to_owned())) == Verdict::Stop
            {
                break;
            }
        }
        let text = growing.finish(|piece| pieces.push(piece.to_owned()));
        (pieces, text)
    }

    #[test]
    fn stops_are_never_shown() {
        assert_eq!(shown("ab. cd", &["."]), (vec!["a".into(), "b".into()], "ab".into()));
        // `\n` may begin the stop, so it waits for what follows.
        let (pieces, text) = shown("a\nb\n\nc", &["\n\n"]);
        assert_eq!((pieces.concat(), text), ("a\nb".into(), "a\nb".into()));
        assert_eq!(pieces, ["a", "\nb"]);
        assert_eq!(shown("xy\n", &["\n\n"]).0.concat(), "xy\n");
    }

    #[test]
    fn half_a_character_waits() {
        let mut growing = Growing::default();
        let mut pieces = Vec::new();
        for decoded in ["a", "a\u{fffd}", "aé"] {
            growing.grow(decoded, &[], |piece| pieces.push(piece.to_owned()));
        }
        assert_eq!(pieces, ["a", "é"]);
    }
}
