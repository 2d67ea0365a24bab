//! Conversations, and answers of which one is preferred.

use super::{
    example::{Conversation, Message, Preference, Role},
    files::Files,
    read::examples,
    rows::{Cell, Examples, Field, Row},
    spec::ExampleSpec,
};
use crate::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Files of conversations, in the layouts they are published in:
///
/// - `messages: [{role, content}]`, or ShareGPT's `conversations: [{from, value}]`;
/// - a prompt and a completion, each a text or a list of messages;
/// - Alpaca's `instruction`, `input` and `output`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConversationSpec {
    /// The files.
    pub files: Files,
    /// The column of messages: `messages`, `conversations`, `conversation` without a name.
    pub messages: Option<String>,
    /// The column of the prompt: `prompt`, `instruction` without a name.
    pub prompt: Option<String>,
    /// The column of the answer: `completion`, `response`, `output` without a name.
    pub completion: Option<String>,
    /// What the system says at the begin of conversations that have no such message.
    pub system: Option<String>,
}

impl ExampleSpec for ConversationSpec {
    type Example = Conversation;

    fn stream(&self) -> Result<Examples<'_, Conversation>> {
        const MESSAGES: &[&str] = &["messages", "conversations", "conversation"];
        let fields = vec![
            Field::optional(&self.messages, MESSAGES, 0),
            Field::optional(&self.prompt, &["prompt", "instruction"], 1),
            Field::optional(&self.completion, &["completion", "response", "output"], 2),
            Field::optional(&None, &["input", "context"], 0),
            Field::optional(&None, &["system"], 0),
        ];
        examples(&self.files, fields, |row| {
            let mut messages = conversation(row)?;
            if !messages.iter().any(|message| message.role == Role::Assistant) {
                return Err("the assistant says nothing, expected an answer".to_owned());
            }
            let system = row.optional(4)?.or_else(|| self.system.clone());
            if let Some(system) = system.filter(|text| !text.is_empty())
                && messages.first().is_some_and(|first| first.role != Role::System)
            {
                messages.insert(0, Message::new(Role::System, system));
            }
            Ok(Conversation { messages })
        })
    }
}

fn conversation(row: &Row) -> Cell<Vec<Message>> {
    match row.value(0) {
        Value::Null => {}
        // Tables hold the list as text.
        Value::String(json) => {
            let list = serde_json::from_str(json)
                .map_err(|error| format!("`{}` is no JSON list: {error}", row.name(0)))?;
            return messages(&list, Role::User);
        }
        list => return messages(list, Role::User),
    }
    let part = |field: usize, role: Role| match row.value(field) {
        Value::Null => {
            let instead = row.name(0);
            Err(format!("neither `{instead}` nor `{}` is there, expected one", row.name(field)))
        }
        value => messages(value, role),
    };
    let mut said = part(1, Role::User)?;
    if let (Some(last), Some(input)) = (said.last_mut(), row.optional(3)?)
        && !input.trim().is_empty()
    {
        last.content.push_str("\n\n");
        last.content.push_str(&input);
    }
    said.extend(part(2, Role::Assistant)?);
    Ok(said)
}

/// Messages of a list, or of a text that `role` says.
fn messages(value: &Value, role: Role) -> Cell<Vec<Message>> {
    match value {
        Value::String(text) => Ok(vec![Message::new(role, text)]),
        Value::Array(items) => items.iter().map(message).collect(),
        other => Err(format!("`{other}` is neither a text nor a list of messages")),
    }
}

fn message(item: &Value) -> Cell<Message> {
    let text = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| item.get(name)?.as_str());
        found.ok_or_else(|| format!("a message without `{}`: `{item}`", names[0]))
    };
    let role = match text(["role", "from"])? {
        "system" | "developer" => Role::System,
        "user" | "human" => Role::User,
        "assistant" | "gpt" | "model" => Role::Assistant,
        "tool" | "function" | "observation" => Role::Tool,
        other => {
            let known = "`system`, `user`, `assistant` or `tool`";
            return Err(format!("a message of `{other}`, expected {known}"));
        }
    };
    Ok(Message::new(role, text(["content", "value"])?))
}

/// Files of preferences: a prompt and two answers, each a text or a list of messages. Lists may
/// repeat the prompt, or hold it where there is no column for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PreferenceSpec {
    /// The files.
    pub files: Files,
    /// The column of the prompt: `prompt`, `question`, `instruction` without a name.
    pub prompt: Option<String>,
    /// The column of the better answer: `chosen` without a name.
    pub chosen: Option<String>,
    /// The column of the worse answer: `rejected` without a name.
    pub rejected: Option<String>,
}

impl ExampleSpec for PreferenceSpec {
    type Example = Preference;

    fn stream(&self) -> Result<Examples<'_, Preference>> {
        let fields = vec![
            Field::optional(&self.prompt, &["prompt", "question", "instruction"], 1),
            Field::required(&self.chosen, &["chosen"], 2),
            Field::required(&self.rejected, &["rejected"], 3),
        ];
        examples(&self.files, fields, preference)
    }
}

fn preference(row: &Row) -> Cell<Preference> {
    let answer = |field: usize| {
        let mut said = messages(row.value(field), Role::Assistant)
            .map_err(|reason| format!("`{}`: {reason}", row.name(field)))?;
        match said.pop() {
            Some(last) if last.role == Role::Assistant => Ok((said, last.content)),
            _ => Err(format!("`{}` does not end in an answer of the assistant", row.name(field))),
        }
    };
    let ((before, chosen), (also_before, rejected)) = (answer(1)?, answer(2)?);
    if before != also_before {
        let names = [row.name(1), row.name(2)];
        return Err(format!("`{}` and `{}` answer different prompts", names[0], names[1]));
    }
    let prompt = match row.value(0) {
        _ if !before.is_empty() => before,
        Value::Null => return Err(format!("no `{}`, nor is it in the answers", row.name(0))),
        prompt => messages(prompt, Role::User)?,
    };
    Ok(Preference { prompt, chosen, rejected })
}
