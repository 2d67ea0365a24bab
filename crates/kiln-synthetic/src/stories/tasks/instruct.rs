//! Conversations about stories, and better and worse answers.

use crate::stories::{
    StorySource,
    event::Story,
    tell::{Told, Tongue},
};
use kiln_datasets::{
    draw::Draw as _,
    labelled::{Conversation, Message, Preference, Role},
};
use kiln_host::Rng;

/// A task with a right answer and, except where anything goes, a wrong one.
struct Exercise {
    request: String,
    right: String,
    wrong: Option<String>,
}

impl StorySource {
    /// Somebody asks for the story's end, an answer, a summary in a sentence, or how many people it
    /// names; the assistant is right.
    pub fn conversation(&self, index: u64) -> Conversation {
        let story = self.story(index);
        let told = self.tell(index, &story, 0, Tongue::English);
        let rng = &mut self.task_rng(index, "conversation");
        let first = if rng.chance(0.2) {
            continuation(&told, rng)
        } else {
            self.exercise(&story, &told, rng)
        };
        let mut messages = vec![
            Message::new(Role::User, first.request),
            Message::new(Role::Assistant, first.right),
        ];
        // A second question is about the same story, which is not said again.
        if rng.chance(0.4) {
            let second = self.task(&story, rng);
            messages.push(Message::new(Role::User, second.request));
            messages.push(Message::new(Role::Assistant, second.right));
        }
        Conversation { messages }
    }

    /// A right answer, and one that is wrong in one fact.
    pub fn preference(&self, index: u64) -> Preference {
        let story = self.story(index);
        let told = self.tell(index, &story, 0, Tongue::English);
        let rng = &mut self.task_rng(index, "preference");
        let mut exercise = self.exercise(&story, &told, rng);
        while exercise.wrong.is_none() {
            exercise = with_story(&told, count(&story, rng));
        }
        Preference {
            prompt: vec![Message::new(Role::User, exercise.request)],
            chosen: exercise.right,
            rejected: exercise.wrong.unwrap_or_default(),
        }
    }

    fn exercise(&self, story: &Story, told: &Told, rng: &mut Rng) -> Exercise {
        let task = self.task(story, rng);
        with_story(told, task)
    }

    fn task(&self, story: &Story, rng: &mut Rng) -> Exercise {
        match rng.below(6) {
            0 => count(story, rng),
            1 => self.summary(story, rng),
            2 => self.silence(story, rng).unwrap_or_else(|| count(story, rng)),
            _ => self.answer(story, rng).unwrap_or_else(|| count(story, rng)),
        }
    }

    /// A question, answered in a sentence.
    fn answer(&self, story: &Story, rng: &mut Rng) -> Option<Exercise> {
        let queries = self.queries(story);
        let query = queries.get(rng.below(queries.len()))?;
        let colour = query.asking.form == crate::stories::template::Form::Colour;
        let old = query.event.get(query.asking.role)?;
        let mut changed = story.clone();
        let (right, wrong) = if colour {
            use crate::stories::event::Entity;
            let Some(Entity::Thing { noun, adjective: Some(colour), .. }) = story.entity(old)
            else {
                return None;
            };
            let others = || self.lexicon.colours.iter().filter(|other| *other != colour);
            let other = others().nth(rng.below(others().count()))?;
            let say = |colour: &str| format!("The {} was {colour}.", noun.word.english);
            (say(&colour.english), say(&other.english))
        } else {
            let other = self.stranger(&mut changed, old, rng);
            let wrong = query.event.with(query.asking.role, other);
            let wrong_text = self.statement(&changed, &wrong, rng);
            (self.statement(story, query.event, rng), wrong_text)
        };
        let wrong = (right != wrong).then_some(wrong);
        Some(Exercise { request: self.ask(story, query, rng), right, wrong })
    }

    /// A question that the story does not answer.
    fn silence(&self, story: &Story, rng: &mut Rng) -> Option<Exercise> {
        let (query, asking) = self.unanswerable(story, rng)?;
        let request = self.teller(story, rng).alone(&asking.question, &query).text;
        let wrong = Some(self.statement(story, &query, rng));
        Some(Exercise { request, right: "The story does not say.".into(), wrong })
    }

    /// What the story is about, in a sentence; wrong if its last plot came out otherwise.
    fn summary(&self, story: &Story, rng: &mut Rng) -> Exercise {
        let request = "Tell the story in one sentence.".to_owned();
        let sentence = |story: &Story, rng: &mut Rng| {
            let Some([heart, end]) = story.plots.last().copied() else { return String::new() };
            let mut say = |place: usize| {
                let event = story.events.get(place);
                event.map_or(String::new(), |event| self.statement(story, event, rng))
            };
            let first = say(heart);
            if heart == end {
                return first;
            }
            let first = first.trim_end_matches('.').to_owned();
            format!("{first}, and in the end {}", lower_article(&say(end)))
        };
        let right = sentence(story, rng);
        let mut changed = story.clone();
        let heart = story.plots.last().and_then(|[heart, _]| story.events.get(*heart)).cloned();
        let wrong = heart.map(|event| {
            let altered = self.altered(&mut changed, &event, 1, rng);
            let swapped = event.roles.iter().zip(&altered.roles).find(|(a, b)| a != b);
            if let Some(((_, old), (_, new))) = swapped {
                for event in &mut changed.events {
                    for (_, id) in &mut event.roles {
                        if id == old {
                            *id = *new;
                        }
                    }
                }
            }
            sentence(&changed, rng)
        });
        Exercise { request, wrong: wrong.filter(|wrong| *wrong != right), right }
    }
}

/// The first words of the story, to be gone on with.
fn continuation(told: &Told, rng: &mut Rng) -> Exercise {
    let cut = 2 + rng.below(told.sentences.len().saturating_sub(3));
    let border = told.sentences.get(cut).map_or(told.text.len(), |span| span.start);
    let (begin, rest) = told.text.split_at(border);
    let begin = begin.trim_end();
    Exercise {
        request: format!("Go on with this story: {begin}"),
        right: rest.to_owned(),
        wrong: None,
    }
}

/// How many persons have a name.
fn count(story: &Story, rng: &mut Rng) -> Exercise {
    const NUMBERS: [&str; 10] =
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    let count = story.persons().count();
    let say = |count: usize| match NUMBERS.get(count) {
        Some(&"one") => "One person has a name.".to_owned(),
        Some(number) => {
            let mut letters = number.chars();
            let first = letters.next().map_or('Z', |letter| letter.to_ascii_uppercase());
            format!("{first}{} people have a name.", letters.as_str())
        }
        None => format!("{count} people have a name."),
    };
    let wrong = if count > 1 && rng.chance(0.5) { count - 1 } else { count + 1 };
    Exercise {
        request: "How many people in the story have a name?".to_owned(),
        right: say(count),
        wrong: Some(say(wrong)),
    }
}

fn with_story(told: &Told, task: Exercise) -> Exercise {
    Exercise { request: format!("{}\n\n{}", told.text, task.request), ..task }
}

/// `The mill` in the middle of a sentence.
fn lower_article(text: &str) -> String {
    text.strip_prefix("The ").map_or_else(|| text.to_owned(), |rest| format!("the {rest}"))
}
