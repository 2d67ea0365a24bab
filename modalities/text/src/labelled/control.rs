//! Texts with scores as examples, and control tokens before them: conditional training, the best
//! way to pretrain with preferences of <https://arxiv.org/abs/2302.08582>.

use super::{
    encode::{Encoder, graded},
    error::EncodeError,
    row::grade,
};
use crate::recipe::Control;
use kiln_datasets::labelled::Labelled;
use kiln_lm::examples::Example;
use kiln_tokenize::TextTokenizer;

impl Control {
    /// The control token of good texts before every text, as when good texts are generated.
    pub(super) fn all_good(&self) -> Self {
        Self { least: f64::NEG_INFINITY, ..self.clone() }
    }

    /// The ids of the control token before a text with this score.
    fn ids(&self, tokenizer: &TextTokenizer, grade: f64) -> Result<Vec<u32>, EncodeError> {
        let [good, bad] = [&self.good, &self.bad].map(|text| tokenizer.encode(text, false));
        let (good, bad) = (good?, bad?);
        if good.get_ids() == bad.get_ids() {
            let (good, bad) = (self.good.clone(), self.bad.clone());
            return Err(EncodeError::Control { good, bad });
        }
        let control = if grade >= self.least { good } else { bad };
        Ok(control.get_ids().to_vec())
    }
}

impl Encoder {
    /// A text with a score and its end token; the control token follows the token that begins a text
    /// and is outside the loss mask.
    pub(super) fn graded(
        &self,
        row: &Labelled,
        control: Option<&Control>,
    ) -> Result<Example, EncodeError> {
        let prefix = match control.zip(grade(&row.label)) {
            Some((control, grade)) => control.ids(&self.tokenizer, grade)?,
            None => Vec::new(),
        };
        let room = self.length.saturating_sub(prefix.len());
        let mut example = Self { length: room, ..self.clone() }.text(&row.text, None)?;
        let end = self.tokenizer.end().filter(|end| example.ids.last() != Some(end));
        example.ids.extend(end.filter(|_| example.ids.len() < room));
        example.special_tokens_mask.clear();
        if !prefix.is_empty() {
            let begins = self.tokenizer.begin().is_some_and(|id| example.ids.first() == Some(&id));
            let at = usize::from(begins);
            example.loss_mask = vec![true; example.ids.len()];
            example.loss_mask.splice(at..at, prefix.iter().map(|_| false));
            example.ids.splice(at..at, prefix);
        }
        Ok(Example { label: graded(&row.label), ..example })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::labelled::{bad, good};
    use kiln_datasets::labelled::Label;
    use kiln_tokenize::{TokenizerSpec, tokenizer::Model};
    use std::sync::Arc;

    #[test]
    fn control_tokens_are_outside_the_loss_mask() {
        let additional = ["<|good|>", "<|bad|>"].map(str::to_owned).to_vec();
        let tokenizer = |model, additional| {
            let document =
                kiln_datasets::Document { text: "a red boat ".repeat(4), ..Default::default() };
            let spec = TokenizerSpec { additional, ..TokenizerSpec::new(model) };
            Arc::new(spec.train([Ok(document)], &mut |_| {}).unwrap())
        };
        let pieces = || Model::WordPiece { vocabulary: 40, lowercase: false };
        let row = |value| Labelled {
            text: "a red boat".into(),
            second: None,
            label: Label::Value(value),
        };
        let control = Control { least: 0.5, good: good(), bad: bad() };
        let words = tokenizer(pieces(), additional.clone());
        let encoder = Encoder::new(words.clone(), 32);
        let plain = encoder.graded(&row(1.0), None).unwrap();
        assert!(plain.loss_mask.is_empty());
        let id = |text| words.inner().token_to_id(text).unwrap();
        for (value, token) in [(1.0, "<|good|>"), (0.5, "<|good|>"), (0.0, "<|bad|>")] {
            let told = encoder.graded(&row(value), Some(&control)).unwrap();
            // Behind [CLS].
            assert_eq!(told.ids[..2], [plain.ids[0], id(token)]);
            assert_eq!(told.ids[2..], plain.ids[1..]);
            assert_eq!(told.loss_mask.iter().position(|counted| !counted), Some(1));
            assert_eq!(told.loss_mask.iter().filter(|counted| !**counted).count(), 1);
            let good = encoder.graded(&row(value), Some(&control.all_good())).unwrap();
            assert_eq!(good.ids[1], id("<|good|>"));
            let short = Encoder::new(words.clone(), 4).graded(&row(value), Some(&control)).unwrap();
            assert_eq!((short.ids.len(), short.loss_mask.len()), (4, 4));
        }
        // Nothing begins a text of bytes.
        let bytes = tokenizer(Model::Bytes {}, additional);
        let told = Encoder::new(bytes.clone(), 32).graded(&row(0.0), Some(&control)).unwrap();
        assert_eq!(told.ids.first(), bytes.inner().token_to_id("<|bad|>").as_ref());
        let same = Control { bad: good(), ..control };
        let error = encoder.graded(&row(0.0), Some(&same)).unwrap_err().to_string();
        assert!(error.contains("additional"), "{error}");
    }
}
