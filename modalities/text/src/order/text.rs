//! Readability and diversity measures of texts.

use kiln_metrics::words::segments;
use miniz_oxide::deflate::compress_to_vec;
use unicode_segmentation::UnicodeSegmentation as _;

/// How hard `deflate` tries: as `gzip` does.
const LEVEL: u8 = 6;
/// The share of different words below which a stretch of words is over, as published.
const FACTOR: f64 = 0.72;

/// Compression ratio: compressed bytes (`deflate`) per byte, 1 and more where nothing comes again.
pub(super) fn compression(text: &str) -> f64 {
    compress_to_vec(text.as_bytes(), LEVEL).len() as f64 / text.len().max(1) as f64
}

/// How many words in a row keep the share of different ones among them above [`FACTOR`], the mean
/// of both directions: MTLD, McCarthy and Jarvis 2010, <https://doi.org/10.3758/BRM.42.2.381>. All
/// words where none comes again.
pub(super) fn mtld(text: &str) -> f64 {
    let words = segments(text, |_| false);
    let forward = stretch(words.iter().map(String::as_str));
    f64::midpoint(forward, stretch(words.iter().rev().map(String::as_str)))
}

/// The mean length of a stretch, in words; the last one, which is not over, counts as far as it
/// got.
fn stretch<'a>(words: impl Iterator<Item = &'a str>) -> f64 {
    let mut seen = rustc_hash::FxHashSet::default();
    let (mut all, mut here, mut stretches, mut share) = (0usize, 0usize, 0.0, 1.0);
    for word in words {
        seen.insert(word);
        (all, here) = (all + 1, here + 1);
        share = seen.len() as f64 / here as f64;
        if share < FACTOR {
            stretches += 1.0;
            seen.clear();
            (here, share) = (0, 1.0);
        }
    }
    stretches += (1.0 - share) / (1.0 - FACTOR);
    if stretches > 0.0 { all as f64 / stretches } else { all as f64 }
}

/// Flesch reading ease, Flesch 1948, <https://doi.org/10.1037/h0057532>. About 100 for what a
/// child reads, 0 for what takes a scholar. Syllables are those of English.
pub(super) fn reading_ease(text: &str) -> f64 {
    let words: Vec<&str> = text.unicode_words().collect();
    let sentences = text.unicode_sentences().count().max(1) as f64;
    let syllables: usize = words.iter().map(|word| syllables(word)).sum();
    let count = words.len().max(1) as f64;
    206.835 - 1.015 * count / sentences - 84.6 * syllables as f64 / count
}

/// Syllables of an English word, by its spelling: groups of vowels but for a silent `e` at its end,
/// before `s` and `d`, too; at least one.
fn syllables(word: &str) -> usize {
    let word: Vec<char> = word.to_lowercase().chars().filter(|c| c.is_alphabetic()).collect();
    let is_vowel = |c: &char| matches!(c, 'a' | 'e' | 'i' | 'o' | 'u' | 'y');
    let groups = word.chunk_by(|a, b| is_vowel(a) == is_vowel(b));
    let groups = groups.filter(|group| group.first().is_some_and(is_vowel)).count();
    let silent = match word.as_slice() {
        [.., before, 'l', 'e'] => is_vowel(before),
        [.., before, 'e'] => !is_vowel(before),
        [.., before, 'e', 'd'] => !is_vowel(before) && !matches!(before, 't' | 'd'),
        [.., 'c' | 's', 'h', 'e', 's'] => false,
        [.., before, 'e', 's'] => {
            !is_vowel(before) && !matches!(before, 's' | 'x' | 'z' | 'c' | 'g')
        }
        _ => false,
    };
    // Be-ing, go-ing, play-ing.
    let doing = matches!(word.as_slice(), [.., before, 'i', 'n', 'g'] if is_vowel(before));
    (groups + usize::from(doing)).saturating_sub(usize::from(silent)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn what_comes_again_is_compressed() {
        let [same, other] = ["abc ".repeat(50), (0..50).map(|n| format!("{n} ")).collect()];
        assert!(compression(&same) < 0.2, "{}", compression(&same));
        assert!(compression(&same) < compression(&other) && compression(&other) < 1.0);
        assert!(compression("") >= 0.0);
    }

    #[test]
    fn words_in_a_row_by_hand() {
        // 1, 1, 1, 1, 4/5, 4/6: over. `for the people` is all different.
        let words = "of the people by the people for the people";
        close(stretch(words.split(' ')), 9.0);
        // Backwards: 1, 1, 1, 3/4, 3/5: over; 1, 1, 1, 1.
        close(stretch(words.split(' ').rev()), 9.0);
        // 1, 1/2: over, twice; and 1.
        close(stretch("a a b b c".split(' ')), 2.5);
        // 1, 1, 1, 3/4: a quarter of 0.28 short of 1.
        close(stretch("a b c a".split(' ')), 4.0 / (0.25 / 0.28));
        close(mtld("One two, three!"), 3.0);
        // Backwards the same: 1, 1, 1, 3/4.
        close(mtld("A b c a."), 4.0 / (0.25 / 0.28));
        close(mtld(""), 0.0);
    }

    #[test]
    fn syllables_by_their_spelling() {
        let words = [
            ("the", 1),
            ("cat", 1),
            ("make", 1),
            ("makes", 1),
            ("table", 2),
            ("passage", 2),
            ("horses", 2),
            ("wishes", 2),
            ("used", 1),
            ("wanted", 2),
            ("being", 2),
            ("sing", 1),
            ("free", 1),
            ("readability", 5),
            ("1984", 1),
        ];
        for (word, count) in words {
            assert_eq!(syllables(word), count, "{word}");
        }
    }

    #[test]
    fn ease_by_hand() {
        // Six words of a syllable each.
        close(reading_ease("The cat sat on the mat."), 206.835 - 1.015 * 6.0 - 84.6);
        // 16 words, 23 syllables.
        let text = "This sentence, taken as a reading passage unto itself, is being used to prove \
                    a point.";
        close(reading_ease(text), 206.835 - 1.015 * 16.0 - 84.6 * 23.0 / 16.0);
        close(reading_ease("I am. You are."), 206.835 - 1.015 * 2.0 - 84.6);
    }
}
