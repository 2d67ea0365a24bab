//! Words as GPT-2 divides text into them, without its regular expression.
//!
//! Text in scripts without spaces seldom repeats itself in pieces that can be remembered: its words
//! are found here, for the characters whose class is plain, and given to the model at once.

/// Single white space, then a text of plain characters, as words; `None` where a character is of
/// another kind. What they are is `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+`.
pub(super) fn words(text: &str) -> Option<Vec<&str>> {
    let mut words = Vec::new();
    let (mut begin, mut last) = (0, None);
    for (at, character) in text.char_indices() {
        let class = match character {
            // A space goes with the word behind it, which must be there.
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
        '0'..='9' => Class::Number,
        '!'..='/' | ':'..='@' | '['..='`' | '{'..='~' => Class::Other,
        '、' | '。' | '〈'..='】' | '！' | '（' | '）' | '，' | '：' | '；' | '？' => {
            Class::Other
        }
        '‘'..='”' | '…' | '—' | '·' => Class::Other,
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
    fn runs_of_a_class_are_words() {
        assert_eq!(words(" 今天，ok 1"), None, "a space in between is for the caller to cut at");
        assert_eq!(words(" 今天，ok12!").unwrap(), [" 今天", "，", "ok", "12", "!"]);
        assert_eq!(words("\n今天").unwrap(), ["\n", "今天"]);
        assert_eq!((words("it's"), words("é"), words(" ")), (None, None, None));
        assert_eq!(words("").unwrap(), [""; 0]);
        let characters = byte_characters();
        assert_eq!((characters[0], characters[32], characters[65]), ('Ā', 'Ġ', 'A'));
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert!(characters.iter().all(|character| alphabet.contains(character)));
    }
}
