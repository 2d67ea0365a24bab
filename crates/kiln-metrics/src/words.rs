//! Word segmentation for metrics: words of scripts with spaces, characters of those without.

/// Whether a character belongs to a script that puts no spaces between words: Han, kana.
pub fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' // kana
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3134f}')
}

/// Splits text into words and single characters of scripts without spaces, in small letters.
/// `symbol` says which other characters become pieces of their own; the rest only divides.
pub fn segments(text: &str, symbol: impl Fn(char) -> bool) -> Vec<String> {
    let (mut pieces, mut word) = (Vec::new(), String::new());
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() && !is_unspaced(c) {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            pieces.push(std::mem::take(&mut word));
        }
        if is_unspaced(c) || symbol(c) {
            pieces.push(c.to_string());
        }
    }
    if !word.is_empty() {
        pieces.push(word);
    }
    pieces
}

/// Jaccard similarity of the words of two texts.
pub fn jaccard(first: &str, second: &str) -> f64 {
    let set =
        |text| segments(text, |_| false).into_iter().collect::<std::collections::BTreeSet<_>>();
    let (first, second) = (set(first), set(second));
    let all = first.union(&second).count().max(1);
    first.intersection(&second).count() as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_characters() {
        assert_eq!(
            segments("GDP增长3.5%，Ça va", |_| false),
            ["gdp", "增", "长", "3", "5", "ça", "va"]
        );
        assert_eq!(segments("a% b", |c| c == '%'), ["a", "%", "b"]);
        assert_eq!(segments("カナ ", |_| false), ["カ", "ナ"]);
        assert!((jaccard("a b", "b c") - 1.0 / 3.0).abs() < 1e-9);
    }
}
