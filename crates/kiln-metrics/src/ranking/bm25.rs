//! BM25, lexical retrieval, with k₁ 1.2 and b 0.75, Robertson and Zaragoza
//! 2009, <https://doi.org/10.1561/1500000019>.

use crate::words::segments;
use std::collections::HashMap;

/// Term-frequency saturation.
const K1: f32 = 1.2;
/// Length normalisation.
const B: f32 = 0.75;

/// A BM25 index of documents: an inverted list a word.
#[derive(Debug)]
pub struct Bm25 {
    documents: usize,
    /// For each word the documents that have it, and its weight in each.
    gains: HashMap<String, Vec<(u32, f32)>>,
}

impl Bm25 {
    /// Indexes documents, in their order.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut gains: HashMap<String, Vec<(u32, f32)>> = HashMap::new();
        let mut lengths = Vec::new();
        for (document, text) in (0..).zip(texts) {
            let words = segments(text, |_| false);
            lengths.push(words.len() as f32);
            for word in words {
                let having = gains.entry(word).or_default();
                match having.last_mut() {
                    Some((last, count)) if *last == document => *count += 1.0,
                    _ => having.push((document, 1.0)),
                }
            }
        }
        let documents = lengths.len();
        let mean = lengths.iter().sum::<f32>() / documents.max(1) as f32;
        for having in gains.values_mut() {
            let many = having.len() as f32;
            let rarity = ((documents as f32 - many + 0.5) / (many + 0.5) + 1.0).ln();
            for (document, count) in having {
                let long = 1.0 - B + B * lengths[*document as usize] / mean.max(1e-9);
                *count = rarity * *count * (K1 + 1.0) / (*count + K1 * long);
            }
        }
        Self { documents, gains }
    }

    /// The BM25 score of each document for a query.
    pub fn scores(&self, query: &str) -> Vec<f32> {
        let mut scores = vec![0.0; self.documents];
        for word in segments(query, |_| false) {
            for (document, gain) in self.gains.get(&word).into_iter().flatten() {
                scores[*document as usize] += gain;
            }
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_words_of_short_documents_count_most() {
        let bm25 = Bm25::new(["the red boat", "the sea and the sky", "a boat, a red boat"]);
        let scores = bm25.scores("red boats? a boat");
        assert!(scores[2] > scores[0] && scores[0] > scores[1] && scores[1] == 0.0);
        // `sea` is in one document of three, of five words where the mean is 13 / 3.
        let rarity = (2.5f32 / 1.5 + 1.0).ln();
        let expected = rarity * 2.2 / (1.0 + 1.2 * (0.25 + 0.75 * 15.0 / 13.0));
        assert!((bm25.scores("Sea")[1] - expected).abs() < 1e-5);
    }
}
