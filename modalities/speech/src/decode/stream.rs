//! Streaming beam search: words are emitted as soon as all prefixes of the beam agree on them, or
//! after the look-ahead.

use super::{
    beam::Search,
    decoded::{Decoded, FrameTimes, TokenSpan, check, words},
    decoder::Decoder,
    forced::force_align,
};
use crate::{Result, SpeechError, transcript::Word};
use ndarray::ArrayView2;

/// Streaming beam search over a recording whose end is not there yet.
///
/// Without a look-ahead the words emitted are those that [`Decoder::decode`] finds; they come
/// when all prefixes agree on them, however late that is. With one, prefixes that contradict the
/// best one about words older than it are given up, so that waiting and memory are bounded.
#[derive(Clone, Debug)]
pub struct BeamStream<'d> {
    decoder: &'d Decoder,
    search: Search<'d>,
    times: FrameTimes,
    /// In frames.
    look_ahead: Option<usize>,
    /// The log-probabilities that the words not yet emitted are heard in, row by row.
    window: Vec<f32>,
    /// Which frame the window starts with.
    first: usize,
    /// When the last word emitted ends, in s.
    until: f64,
}

impl<'d> BeamStream<'d> {
    /// Starts before the first frame. `look_ahead` is how many frames behind a word are waited for
    /// at most.
    pub fn new(decoder: &'d Decoder, times: FrameTimes, look_ahead: Option<usize>) -> Self {
        let (search, window) = (Search::new(decoder), Vec::new());
        Self { decoder, search, times, look_ahead, window, first: 0, until: times.start }
    }

    /// Takes the next frames, `[frames, vocabulary]`, and emits the words that are certain.
    ///
    /// # Errors
    /// When the columns are not the vocabulary's, or a number is no log-probability; nothing is
    /// taken then.
    pub fn push(&mut self, log_probs: ArrayView2<'_, f32>) -> Result<Vec<Word>> {
        check(log_probs, &self.decoder.vocabulary)?;
        for frame in log_probs.outer_iter() {
            self.search.advance(frame);
            self.window.extend(frame);
        }
        self.give_out()
    }

    /// The best prefix behind the words emitted.
    pub fn partial(&self) -> String {
        self.decoder.vocabulary.decode(&self.best_label())
    }

    /// The words not yet emitted, and the hypotheses of their frames.
    ///
    /// # Errors
    /// Never for what [`BeamStream::push`] took.
    pub fn finish(mut self) -> Result<Decoded> {
        let nbest = self.search.finish();
        let label = nbest.first().map_or(&[][..], |best| &best.ids);
        let spans = self.align(label)?;
        Ok(Decoded { words: self.words(&spans), nbest })
    }

    fn give_out(&mut self) -> Result<Vec<Word>> {
        let living = self.search.active.iter().map(|active| active.prefix);
        let agreed = living.reduce(|a, b| self.search.prefixes.common(a, b)).unwrap_or(0);
        let agreed = self.last_word_end(agreed);
        if agreed == 0 && self.look_ahead.is_none() {
            return Ok(Vec::new());
        }
        let label = self.best_label();
        let spans = self.align(&label)?;
        let count = match self.look_ahead {
            None => self.search.prefixes.path(agreed).count(),
            Some(look_ahead) => {
                let agreed = self.search.prefixes.path(agreed).count();
                agreed.max(self.settle(&spans, look_ahead))
            }
        };
        let ended = self.words(&spans[..count]);
        if let Some(last) = spans[..count].last() {
            let root = self.best_prefix(count, spans.len());
            self.search.forget(root);
            self.drop_before(last.last + 1);
        }
        if let Some(look_ahead) = self.look_ahead {
            // Silence need not be kept, however long it is.
            let frames = self.first + self.rows();
            let next = spans.get(count).map_or(frames, |span| span.first);
            self.drop_before(next.min(frames.saturating_sub(look_ahead)));
        }
        Ok(ended)
    }

    /// How many tokens of the best prefix are words older than the look-ahead. Prefixes that
    /// contradict them die.
    fn settle(&mut self, spans: &[TokenSpan], look_ahead: usize) -> usize {
        let frames = self.first + self.rows();
        let old = |span: &TokenSpan| {
            Some(span.token) == self.decoder.vocabulary.delimiter()
                && span.last + look_ahead < frames
        };
        let Some(last) = spans.iter().rposition(old) else { return 0 };
        let root = self.best_prefix(last + 1, spans.len());
        let Search { prefixes, active, .. } = &mut self.search;
        active.retain(|active| prefixes.common(active.prefix, root) == root);
        last + 1
    }

    /// The best prefix's first `count` of `length` tokens.
    fn best_prefix(&self, count: usize, length: usize) -> u32 {
        let best = self.search.active.first().map_or(0, |best| best.prefix);
        self.search.prefixes.path(best).nth(length - count).unwrap_or(0)
    }

    /// The longest start of a prefix that ends with a delimiter.
    fn last_word_end(&self, prefix: u32) -> u32 {
        let delimiter = self.decoder.vocabulary.delimiter();
        let ends = |prefix: &u32| Some(self.search.prefixes.get(*prefix).token) == delimiter;
        self.search.prefixes.path(prefix).find(ends).unwrap_or(0)
    }

    fn best_label(&self) -> Vec<u32> {
        self.search
            .active
            .first()
            .map_or(Vec::new(), |best| self.search.prefixes.label(best.prefix))
    }

    /// Tokens as words, none of which starts before another ends.
    fn words(&mut self, spans: &[TokenSpan]) -> Vec<Word> {
        let mut words = words(&self.decoder.vocabulary, spans, self.times);
        for word in &mut words {
            word.start = word.start.max(self.until);
            word.end = word.end.max(word.start);
            self.until = word.end;
        }
        words
    }

    /// Where a label is in the window; frames count from the start of the recording.
    fn align(&self, label: &[u32]) -> Result<Vec<TokenSpan>> {
        let (rows, columns) = (self.rows(), self.decoder.vocabulary.len());
        let window = ArrayView2::from_shape((rows, columns), &self.window)
            .map_err(|_| SpeechError::Columns { expected: columns, found: self.window.len() })?;
        match force_align(window, label, self.decoder.vocabulary.blank()) {
            Ok(mut spans) => {
                for span in &mut spans {
                    (span.first, span.last) = (span.first + self.first, span.last + self.first);
                }
                Ok(spans)
            }
            // The words emitted last took more frames than this reading would have left them.
            Err(SpeechError::LabelTooLong { .. }) => Ok(self.spread(label)),
            Err(error) => Err(error),
        }
    }

    /// A label evenly over the window, with no confidence.
    fn spread(&self, label: &[u32]) -> Vec<TokenSpan> {
        let last = self.rows().saturating_sub(1);
        let span = |(index, token): (usize, &u32)| {
            let frame = self.first + (index * self.rows() / label.len()).min(last);
            let log_probability = f32::NEG_INFINITY;
            TokenSpan { token: *token, first: frame, last: frame, log_probability }
        };
        label.iter().enumerate().map(span).collect()
    }

    fn drop_before(&mut self, frame: usize) {
        let rows = frame.saturating_sub(self.first).min(self.rows());
        self.window.drain(..rows * self.decoder.vocabulary.len());
        self.first += rows;
    }

    fn rows(&self) -> usize {
        self.window.len() / self.decoder.vocabulary.len()
    }
}
