//! Training of the unigram language model, <https://arxiv.org/abs/1804.10959>.

use super::{
    error::{Result, TokenizerError, failed},
    role::Role,
    spec::Surroundings,
};
use kiln_datasets::guarded;
use rustc_hash::FxHashSet;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokenizers::{AddedToken, models::unigram};

/// A word, and how often it came.
pub(super) type Counted = (String, u64);

/// Learns a unigram model. Characters outside of the alphabet divide words.
pub(super) fn learn_unigram(
    around: &Surroundings<'_>,
    words: Vec<Counted>,
    alphabet: &FxHashSet<char>,
    vocabulary: usize,
) -> Result<Value> {
    let mut parts: BTreeMap<String, u64> = BTreeMap::new();
    for (word, count) in words {
        let known = word.split(|character| !alphabet.contains(&character));
        for part in known.filter(|part| !part.is_empty()) {
            *parts.entry(part.to_owned()).or_default() += count;
        }
    }
    let parts = parts.into_iter();
    let parts: Vec<(String, u32)> =
        parts.map(|(word, count)| (word, u32::try_from(count).unwrap_or(u32::MAX))).collect();
    let mut trainer = unigram::UnigramTrainer::default();
    trainer.show_progress = false;
    trainer.vocab_size = u32::try_from(vocabulary).unwrap_or(u32::MAX);
    trainer.unk_token = around.roles.get(&Role::Unk).cloned();
    let special = around.special.iter();
    trainer.special_tokens = special.map(|token| AddedToken::from(token.clone(), true)).collect();
    trainer.initial_alphabet.insert('\n');
    // Sums of floats depend on how work is divided among threads: one thread always does the same.
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let one = one.map_err(|error| TokenizerError::Training(error.to_string()))?;
    let mut model = unigram::Unigram::default();
    // The library panics where expectation maximisation has nothing left to work on.
    let trained = one.install(|| guarded(|| trainer.do_train(parts, &mut model)));
    let too_little = || {
        let reason = "the unigram model found nothing to learn from; give it more text, or a \
                      smaller vocabulary";
        TokenizerError::Training(reason.to_owned())
    };
    trained.ok_or_else(too_little)?.map_err(failed)?;
    let mut value = serde_json::to_value(&model).map_err(|error| failed(error.into()))?;
    if let Some(pieces) = value.get_mut("vocab").and_then(Value::as_array_mut) {
        if pieces.len() <= around.special.len() {
            return Err(too_little());
        }
        settle(pieces, around.special.len());
    }
    Ok(value)
}

/// Brings pieces into an order of their own. The library adds single characters that it had pruned
/// in the order of a randomly seeded map, each rarer than the one before by a fixed step: they are
/// sorted here.
fn settle(pieces: &mut [Value], special: usize) {
    const STEP: f64 = 1e-4;
    let Some(pieces) = pieces.get_mut(special..) else { return };
    let read = |piece: &Value| {
        let text = piece.get(0).and_then(Value::as_str).unwrap_or_default().to_owned();
        (text, piece.get(1).and_then(Value::as_f64).unwrap_or_default())
    };
    let mut read: Vec<(String, f64)> = pieces.iter().map(read).collect();
    let least = read.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
    let is_added = |(text, score): &(String, f64)| {
        let steps = (score - least) / STEP;
        text.chars().count() == 1 && (steps - steps.round()).abs() < 1e-6
    };
    let mut texts: Vec<String> =
        read.iter().filter(|piece| is_added(piece)).map(|(text, _)| text.clone()).collect();
    texts.sort_unstable();
    let mut places: Vec<usize> = (0..read.len()).filter(|at| is_added(&read[*at])).collect();
    places.sort_by(|a, b| read[*b].1.total_cmp(&read[*a].1));
    for (place, text) in places.into_iter().zip(texts) {
        read[place].0 = text;
    }
    read.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    for (piece, (text, score)) in pieces.iter_mut().zip(read) {
        *piece = json!([text, score]);
    }
}
