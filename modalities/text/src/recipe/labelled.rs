//! Labelled examples in a recipe: where they come from, and what becomes of them.

use super::sources::TextSource;
use kiln_datasets::labelled::{
    ConversationSpec, Holdout, LabelledSpec, PairSpec, PreferenceSpec, QuestionSpec, RetrievalSpec,
    TaggedSpec, TripletSpec,
};
use kiln_synthetic::stories::{Stories, StoryLabel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Labelled examples of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelledData {
    /// What is trained on.
    pub train: LabelledSource,
    /// What is validated with; of what is trained on a part, `held`, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<LabelledSource>,
    /// What finished models are measured on; what is validated with if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<LabelledSource>,
    /// The part of what is trained on that is held out for validation.
    #[serde(default = "tenth")]
    pub held: Holdout,
    /// How many examples are trained on, drawn by the recipe's seed; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Tokens of an example at most. Longer texts are cut; questions are asked of each part of a
    /// longer context.
    #[serde(default = "length")]
    pub length: usize,
    /// Target tokens of a sequence-to-sequence example at most.
    #[serde(default = "length")]
    pub target_length: usize,
    /// Task prefix of each source of an encoder-decoder, such as `translate English to Chinese: `.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Source and target words of an encoder-decoder that learns to rank with triplets or judged
    /// queries (monoT5).
    #[serde(default, skip_serializing_if = "RankingWords::is_default")]
    pub ranking: RankingWords,
    /// Control tokens before scored texts, for `reward-weighted`; in evaluation, those of good texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
    /// Names of the labels in the order of their ids; those that occur if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// How often its batches are seen beside those of other tasks, and of documents where
    /// `data.unlabelled` mixes them in.
    #[serde(default = "one")]
    pub weight: f64,
    /// The first step of the stage that has some.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub from: u64,
}

fn one() -> f64 {
    1.0
}

fn is_zero(step: &u64) -> bool {
    *step == 0
}

fn tenth() -> Holdout {
    Holdout::Share(0.1)
}

fn length() -> usize {
    256
}

/// Where labelled examples come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LabelledSource {
    /// Texts or pairs of texts with a class, several labels, or a number.
    Texts(LabelledSpec),
    /// Sentences with a tag a token.
    Tagged(TaggedSpec),
    /// Extractive question answering: questions with a span of a text as the answer.
    Questions(QuestionSpec),
    /// Pairs of texts: a translation, a query and its answer.
    Pairs(PairSpec),
    /// Triplets: an anchor with a positive and negatives.
    Triplets(TripletSpec),
    /// Queries, each with a positive document and negatives.
    Retrieval(JudgedQueries),
    /// Conversations; the loss mask is the assistant's part.
    Conversations(ConversationSpec),
    /// Preferences: a chosen and a rejected answer.
    Preferences(PreferenceSpec),
    /// Tasks about the small stories that come with Kiln, with exact labels.
    Stories(StoryTask),
    /// Tasks that are made of plain documents.
    Derived(Derived),
}

/// A task about stories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoryTask {
    /// Which.
    pub task: StoryTaskKind,
    /// About which stories; 2000 of them if no number is given.
    #[serde(default)]
    pub stories: Stories,
}

/// Tasks about stories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoryTaskKind {
    /// The class of a story.
    Class(StoryLabel),
    /// The class of a Chinese story.
    ChineseClass(StoryLabel),
    /// Who, what and where, as tags.
    Tags,
    /// The same of Chinese stories.
    ChineseTags,
    /// Questions.
    Questions,
    /// Semantic similarity of two sentences.
    Similarity,
    /// Whether one text follows from another.
    Entailment,
    /// A text, the same in other words, and so many others.
    Paraphrase(usize),
    /// Into a language of their own.
    Translation,
    /// Instructions and their answers.
    Conversations,
    /// Preferences: a chosen and a rejected answer.
    Preferences,
}

/// A task that is made of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// Which.
    pub task: DerivedTask,
    /// Where the documents come from.
    pub source: TextSource,
    /// Examples that are made of a document, each at another place of it.
    #[serde(default = "one_each")]
    pub each: usize,
}

/// Tasks that are made of documents. Texts with too few sentences are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DerivedTask {
    /// Two runs of so many sentences, one after the other in the document: `ordered` or `swapped`,
    /// as in ALBERT, <https://arxiv.org/abs/1909.11942>.
    SentenceOrder(usize),
    /// So many sentences at most, in any order: each points to the place that it had,
    /// <https://arxiv.org/abs/2406.04156>.
    SegmentOrder(usize),
    /// Two runs of so many sentences: the second is the `next` of the document, or of `another`, as
    /// in BERT, <https://arxiv.org/abs/1810.04805>.
    NextSentence(usize),
    /// Two runs of so many sentences: `adjacent` in a document, elsewhere in the `same`, or of
    /// `another`, as in ERNIE 2.0, <https://arxiv.org/abs/1907.12412>.
    SentenceDistance(usize),
    /// Two runs of so many sentences from anywhere in the document: a pair,
    /// <https://arxiv.org/abs/2112.09118>.
    Crops(usize),
    /// A sentence and what stands around it: a pair, <https://arxiv.org/abs/1906.00300>.
    InverseCloze,
    /// A document, words that stand for it and as many that do so less, for `cross-encoder`: PROP,
    /// <https://arxiv.org/abs/2010.10137>. Their number is drawn by Poisson with this mean, and they
    /// by the document's language model, by which the likelier draw stands for it more.
    RepresentativeWords(usize),
}

/// Judged documents as triplets: each query with a document that answers it and others that do not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgedQueries {
    /// Where they come from.
    pub source: RetrievalSource,
    /// Documents that do not answer the query but have its words: drawn of the first 50 by BM25.
    #[serde(default = "one_each")]
    pub hard: usize,
    /// Documents that do not answer it, drawn of all.
    #[serde(default = "one_each")]
    pub random: usize,
}

fn one_each() -> usize {
    1
}

/// Queries, documents, and which answer which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetrievalSource {
    /// Of a folder in BEIR's layout.
    Files(RetrievalSpec),
    /// Questions about the small stories that come with Kiln, and the stories that answer them.
    Stories(StoryRetrieval),
}

/// Stories to look among.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoryRetrieval {
    /// Which; 1000 of them if no number is given.
    pub stories: Stories,
    /// Questions at most, about the first of them.
    pub queries: usize,
}

impl Default for StoryRetrieval {
    fn default() -> Self {
        Self { stories: Stories::default(), queries: 200 }
    }
}

/// Control tokens of conditional training: which text comes before a scored one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// The least grade of a good text.
    pub least: f64,
    /// The prefix of a good one. A token of its own where the tokenizer has it,
    /// `tokenizer.train.additional`.
    #[serde(default = "good")]
    pub good: String,
    /// The prefix of the others.
    #[serde(default = "bad")]
    pub bad: String,
}

pub(crate) fn good() -> String {
    "<|good|>".to_owned()
}

pub(crate) fn bad() -> String {
    "<|bad|>".to_owned()
}

pub(crate) const QUERY: &str = "{query}";
pub(crate) const TEXT: &str = "{text}";

/// Prompt and target words of a sequence-to-sequence ranker; monoT5's by default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RankingWords {
    /// What is read, with `{query}` and `{text}` in it.
    pub prompt: String,
    /// The target of a relevant text.
    pub relevant: String,
    /// The target of another.
    pub other: String,
}

impl Default for RankingWords {
    fn default() -> Self {
        Self {
            prompt: format!("Query: {QUERY} Document: {TEXT} Relevant:"),
            relevant: "true".into(),
            other: "false".into(),
        }
    }
}

impl RankingWords {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Which setting makes no sense, and why.
    pub(crate) fn validate(&self) -> Result<(), (&'static str, String)> {
        for name in [QUERY, TEXT] {
            let found = self.prompt.matches(name).count();
            if found != 1 {
                return Err(("prompt", format!("has `{name}` {found} times; expected once")));
            }
        }
        if self.relevant.trim().is_empty() || self.other.trim().is_empty() {
            return Err(("relevant", "or `other` is empty; expected a word each".into()));
        }
        Ok(())
    }
}

/// The key below `data` of a task.
pub(crate) fn task_key(name: Option<&str>) -> String {
    name.map_or_else(|| "labelled".to_owned(), |name| format!("tasks.{name}"))
}
