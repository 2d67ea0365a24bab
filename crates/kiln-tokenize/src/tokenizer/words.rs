//! Words as tokenizers divide text into them, without regular expressions and alignments.
//!
//! Text in scripts without spaces seldom repeats itself in pieces that can be remembered: its words
//! are found here, where that is plain, and merged at once.

use unicode_normalization::{IsNormalized, is_nfc_quick};

/// Text as words that begin at spaces, line breaks being words of their own: as `Metaspace` has it
/// behind a `Split` at line breaks and a normaliser that composes characters. `None` where
/// characters may not be composed yet, or one is what stands for a space.
pub(super) fn line_words(text: &str) -> Option<Vec<&str>> {
    if text.contains('▁') || is_nfc_quick(text.chars()) != IsNormalized::Yes {
        return None;
    }
    let mut words = Vec::new();
    let (mut begin, mut after_break) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        if at > begin && (after_break || matches!(byte, b' ' | b'\n')) {
            words.push(text.get(begin..at)?);
            begin = at;
        }
        after_break = byte == b'\n';
    }
    words.extend(text.get(begin..).filter(|word| !word.is_empty()));
    Some(words)
}

/// Words as GPT-2 divides text into them; `None` where a character is of another kind. What they are
/// is `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+`.
pub(super) fn words(text: &str) -> Option<Vec<&str>> {
    let mut words = Vec::new();
    let (mut begin, mut last) = (0, None);
    for (at, character) in text.char_indices() {
        let class = match character {
            // A space belongs to the word that follows, if one does.
            ' ' if at == 0 && text.len() > 1 => continue,
            '\n' if at == 0 => Class::Break,
            _ => class(character)?,
        };
        if last.is_some_and(|last| last != class) {
            words.push(text.get(begin..at)?);
            begin = at;
        }
        last = Some(class);
    }
    words.extend(text.get(begin..).filter(|word| !word.is_empty()));
    Some(words)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    Other,
    Break,
}

/// The class of a character, where it is certain in every version of Unicode.
fn class(character: char) -> Option<Class> {
    Some(match character {
        // Letters may follow it as one word: 's, 'll.
        '\'' => return None,
        'a'..='z' | 'A'..='Z' | 'А'..='я' | 'ぁ'..='ゖ' | 'ァ'..='ヺ' => Class::Letter,
        '\u{3400}'..='\u{4DB5}' | '\u{4E00}'..='\u{9FA5}' | '가'..='힣' => Class::Letter,
        'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ÿ' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ' => Class::Letter,
        '0'..='9' | '０'..='９' | '〇' | '①'..='⑳' => Class::Number,
        '!'..='/' | ':'..='@' | '['..='`' | '{'..='~' => Class::Other,
        '、' | '。' | '〈'..='〟' | '！'..='／' | '：'..='＠' | '［'..='｀' | '｛'..='･' => {
            Class::Other
        }
        '‘'..='”' | '‐'..='—' | '•' | '…' | '·' => Class::Other,
        _ => return None,
    })
}

/// The character that stands for a byte in the vocabulary of GPT-2: itself where it can be seen,
/// else one of those from U+0100 on.
pub(super) fn byte_characters() -> [char; 256] {
    let seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        if seen(byte) {
            return char::from(byte);
        }
        next += 1;
        char::from_u32(next - 1).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_spaces_begin_words() {
        let words = |text| line_words(text).unwrap();
        assert_eq!(
            words("今天 ok  a\n\nb c\n"),
            ["今天", " ok", " ", " a", "\n", "\n", "b", " c", "\n"]
        );
        assert_eq!(words("\n "), ["\n", " "]);
        assert_eq!((words(""), words(" ")), (vec![], vec![" "]));
        assert_eq!((line_words("a▁b"), line_words("e\u{301}")), (None, None));
    }

    #[test]
    fn runs_of_a_class_are_words() {
        assert_eq!(words(" 今天，ok 1"), None, "a space in between is for the caller to cut at");
        assert_eq!(words(" 今天，ok12!").unwrap(), [" 今天", "，", "ok", "12", "!"]);
        assert_eq!(words("\n今天").unwrap(), ["\n", "今天"]);
        assert_eq!((words("it's"), words("ē"), words(" ")), (None, None, None));
        assert_eq!(words("").unwrap(), [""; 0]);
        let characters = byte_characters();
        assert_eq!((characters[0], characters[32], characters[65]), ('Ā', 'Ġ', 'A'));
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert!(characters.iter().all(|character| alphabet.contains(character)));
    }
}
