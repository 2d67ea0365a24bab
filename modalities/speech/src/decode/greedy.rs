//! Greedy CTC decoding: the argmax of every frame, repeats collapsed, blanks removed.

use super::decoded::{Decoded, FrameTimes, Hypothesis, TokenSpan, check, words};
use crate::{Result, transcript::Word, vocabulary::Vocabulary};
use ndarray::{ArrayView1, ArrayView2};

/// Greedy decoding of `[frames, vocabulary]` log-probabilities. The score is that of the one path
/// taken.
///
/// # Errors
/// When the columns are not the vocabulary's, or a number is no log-probability.
pub fn greedy(
    vocabulary: &Vocabulary,
    log_probs: ArrayView2<'_, f32>,
    times: FrameTimes,
) -> Result<Decoded> {
    let mut stream = GreedyStream::new(vocabulary, times);
    let mut words = stream.push(log_probs)?;
    let (rest, best) = stream.finish();
    words.extend(rest);
    Ok(Decoded { words, nbest: vec![best] })
}

/// Greedy decoding as frames come in: a word is given out at the delimiter behind it.
#[derive(Clone, Debug)]
pub struct GreedyStream<'v> {
    vocabulary: &'v Vocabulary,
    times: FrameTimes,
    /// How many frames there were.
    frames: usize,
    /// The token of the last frame.
    last: Option<u32>,
    /// Of the word at hand.
    spans: Vec<TokenSpan>,
    ids: Vec<u32>,
    score: f64,
}

impl<'v> GreedyStream<'v> {
    /// Starts before the first frame.
    pub fn new(vocabulary: &'v Vocabulary, times: FrameTimes) -> Self {
        Self {
            vocabulary,
            times,
            frames: 0,
            last: None,
            spans: Vec::new(),
            ids: Vec::new(),
            score: 0.0,
        }
    }

    /// Takes the next frames, `[frames, vocabulary]`, and gives out the words that ended in them.
    ///
    /// # Errors
    /// When the columns are not the vocabulary's, or a number is no log-probability; nothing is
    /// taken then.
    pub fn push(&mut self, log_probs: ArrayView2<'_, f32>) -> Result<Vec<Word>> {
        check(log_probs, self.vocabulary)?;
        let mut ended = Vec::new();
        for frame in log_probs.outer_iter() {
            let (token, log_probability) = best(frame);
            self.score += f64::from(log_probability);
            if self.last == Some(token) {
                // The last span is this token's, unless it is none of a transcript.
                if let Some(span) = self.spans.last_mut().filter(|span| span.token == token) {
                    span.last = self.frames;
                    span.log_probability = span.log_probability.max(log_probability);
                }
            } else if self.vocabulary.is_written(token) {
                self.ids.push(token);
                if self.vocabulary.delimiter() == Some(token) {
                    ended.extend(words(self.vocabulary, &self.spans, self.times));
                    self.spans.clear();
                } else {
                    let (first, last) = (self.frames, self.frames);
                    self.spans.push(TokenSpan { token, first, last, log_probability });
                }
            }
            self.last = Some(token);
            self.frames += 1;
        }
        Ok(ended)
    }

    /// The word that has not ended yet; empty between words.
    pub fn partial(&self) -> String {
        let ids: Vec<u32> = self.spans.iter().map(|span| span.token).collect();
        self.vocabulary.decode(&ids)
    }

    /// The last word, where there is one, and the whole hypothesis.
    pub fn finish(self) -> (Option<Word>, Hypothesis) {
        let last = words(self.vocabulary, &self.spans, self.times).pop();
        let text = self.vocabulary.decode(&self.ids);
        let (score, acoustic) = (self.score, self.score);
        (last, Hypothesis { ids: self.ids, text, score, acoustic, language: 0.0 })
    }
}

/// The best token, the first of equals.
fn best(frame: ArrayView1<'_, f32>) -> (u32, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, log_probability) in (0..).zip(frame) {
        if *log_probability > best.1 {
            best = (token, *log_probability);
        }
    }
    best
}
