//! Conversations as one text, by the Jinja template of a model.

use kiln_datasets::labelled::{Message, Role};
use kiln_tokenize::{Role as Token, TextTokenizer};
use minijinja::{Environment, ErrorKind, context};
use std::sync::Arc;

/// What separates turns where a model has no template of its own: OpenAI's ChatML.
const PLAIN: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n\
                     {{ message.content }}<|im_end|>\n{% endfor %}\
                     {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// The control tokens of ChatML around turns.
const MARKS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

/// Why a conversation cannot be rendered as one text.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// A template that cannot be used, or a conversation that it refuses.
    #[error("the chat template: {0:#}")]
    Template(#[from] minijinja::Error),
    /// A model that no conversations were shown to.
    #[error(
        "this model has no chat template, so it was not trained to answer; without `--chat` it goes \
         on with a text, and conversations (`data.labelled.train`) teach it to answer"
    )]
    Missing,
}

impl kiln_core::blame::Blamed for ChatError {}

/// A tokenizer with a chat template: its own, or else ChatML's. A warning is logged where the latter's
/// control tokens are missing.
pub(crate) fn with_template(tokenizer: Arc<TextTokenizer>) -> Arc<TextTokenizer> {
    if tokenizer.chat_template().is_some() {
        return tokenizer;
    }
    let lacks = |mark: &&str| tokenizer.inner().token_to_id(mark).is_none();
    if let Some(mark) = MARKS.iter().find(|mark| lacks(mark)) {
        tracing::warn!(
            "`{mark}`, which divides the turns of conversations, is no token of the tokenizer: it is \
             written in pieces; train one with `data.tokenizer.train.additional = {MARKS:?}`"
        );
    }
    Arc::new(tokenizer.with_chat_template(PLAIN))
}

/// A chat template: renders conversations as one text.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// The template of a tokenizer, or a plain one.
    ///
    /// # Errors
    /// When it is no template.
    pub fn of(tokenizer: &TextTokenizer) -> Result<Self, ChatError> {
        let source = tokenizer.chat_template().unwrap_or(PLAIN).to_owned();
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| {
            Err::<String, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, source)?;
        let text = |role| {
            let token = tokenizer.special().get(role);
            token.map(|token| token.text.clone()).unwrap_or_default()
        };
        Ok(Self { environment, bos: text(Token::Bos), eos: text(Token::Eos) })
    }

    /// The template that a model was trained by.
    ///
    /// # Errors
    /// When there is none, or it is no template.
    pub fn trained(tokenizer: &TextTokenizer) -> Result<Self, ChatError> {
        match tokenizer.chat_template() {
            Some(_) => Self::of(tokenizer),
            None => Err(ChatError::Missing),
        }
    }

    /// The text that follows an assistant's turn, trimmed.
    ///
    /// # Errors
    /// When the template refuses a conversation.
    pub fn ending(&self) -> Result<String, ChatError> {
        const REPLY: &str = "kiln";
        let asked = Message::new(Role::User, "?");
        let whole = self.render(&[asked, Message::new(Role::Assistant, REPLY)], false)?;
        Ok(whole.rsplit_once(REPLY).map_or("", |(_, behind)| behind).trim().to_owned())
    }

    /// A conversation as text; with `answer` it ends where the assistant begins to speak.
    ///
    /// # Errors
    /// When the template refuses it.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String, ChatError> {
        Ok(self.environment.get_template(NAME)?.render(context! {
            messages => messages,
            add_generation_prompt => answer,
            bos_token => self.bos,
            eos_token => self.eos,
        })?)
    }

    /// The same in pieces: false for the prompt, true for the assistant's turns.
    ///
    /// # Errors
    /// When the template refuses it.
    pub fn pieces(&self, messages: &[Message]) -> Result<Vec<(String, bool)>, ChatError> {
        let whole = self.render(messages, false)?;
        let (mut pieces, mut told) = (Vec::new(), 0);
        for (number, message) in messages.iter().enumerate() {
            if message.role != Role::Assistant {
                continue;
            }
            let before = self.render(&messages[..number], true)?;
            let after = self.render(&messages[..=number], false)?;
            // A template may render an early turn differently once later ones follow: then all of it
            // is context only.
            if !(whole.starts_with(&after) && after.starts_with(&before) && before.len() >= told) {
                continue;
            }
            pieces.push((whole[told..before.len()].to_owned(), false));
            pieces.push((after[before.len()..].to_owned(), true));
            told = after.len();
        }
        pieces.push((whole[told..].to_owned(), false));
        pieces.retain(|(text, _)| !text.is_empty());
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_tokenize::{TokenizerSpec, tokenizer::Model};

    fn conversation() -> Vec<Message> {
        vec![
            Message::new(Role::System, "Be brief."),
            Message::new(Role::User, "Hi"),
            Message::new(Role::Assistant, "Hello."),
            Message::new(Role::User, "Bye"),
            Message::new(Role::Assistant, "See you."),
        ]
    }

    #[test]
    fn what_the_assistant_says_is_told_apart() {
        let tokenizer = TokenizerSpec::new(Model::Bytes {});
        let tokenizer = tokenizer.train(std::iter::empty(), &mut |_| {}).unwrap();
        let template = ChatTemplate::of(&tokenizer).unwrap();
        let pieces = template.pieces(&conversation()).unwrap();
        let replies: Vec<&str> =
            pieces.iter().filter(|(_, own)| *own).map(|(text, _)| &text[..]).collect();
        assert_eq!(replies, ["Hello.<|im_end|>\n", "See you.<|im_end|>\n"]);
        let whole: String = pieces.iter().map(|(text, _)| &text[..]).collect();
        assert_eq!(whole, template.render(&conversation(), false).unwrap());
        assert!(whole.starts_with("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi"));
        let asked = template.render(&conversation()[..2], true).unwrap();
        assert!(asked.ends_with("<|im_start|>assistant\n"));
        assert_eq!(template.ending().unwrap(), "<|im_end|>");
        // Other tools find the template beside the model.
        assert!(matches!(ChatTemplate::trained(&tokenizer), Err(ChatError::Missing)));
        let dir = tempfile::tempdir().unwrap();
        with_template(Arc::new(tokenizer)).write(dir.path()).unwrap();
        let reopened = TextTokenizer::open(dir.path()).unwrap();
        assert_eq!(reopened.chat_template(), Some(PLAIN));
        let again = ChatTemplate::trained(&reopened).unwrap();
        assert_eq!(again.render(&conversation(), false).unwrap(), whole);
    }

    #[test]
    fn templates_in_pythons_manner_and_refusals() {
        let source = "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}\
                      {{ raise_exception('no system here') }}{% endif %}\
                      [{{ m['role'].upper() }}]{{ m['content'].strip() }}{% endfor %}";
        let mut environment = Environment::new();
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| {
            Err::<String, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, source.to_owned()).unwrap();
        let template = ChatTemplate { environment, bos: "<s>".into(), eos: String::new() };
        let error = template.render(&conversation(), false).unwrap_err().to_string();
        assert!(error.contains("no system here"), "{error}");
        let text = template.render(&[Message::new(Role::User, " Hi ")], false).unwrap();
        assert_eq!(text, "<s>[USER]Hi");
    }
}
