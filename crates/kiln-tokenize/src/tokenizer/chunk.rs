//! Safe cuts: where text can be split so that its chunks, encoded one by one, give the ids of the
//! whole.
//!
//! Most tokenizers begin a new word at white space. Where that is known of one, words can be looked
//! up that were met before, which is many times faster than to go through regular expressions,
//! alignments and merges again.

use serde_json::{Value, json};
use tokenizers::Tokenizer;

/// Pre-tokenizer patterns of GPT-4, Llama 3 and Qwen 2. Their line breaks stick to what is before
/// them.
const SPLITS: [&str; 2] = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

/// Before which characters a text can be cut, where they follow something else than white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nowhere for certain.
    Never,
    /// Before spaces.
    Space,
    /// Before spaces, tabs and line breaks.
    White,
    /// There, words being those of GPT-2.
    Bytes,
    /// Before spaces, which begin words; so do line breaks, which are words, and what is behind
    /// them.
    Lines,
    /// Before white space, and on both sides of Chinese characters.
    Chinese,
}

impl Cut {
    /// What is certain of a tokenizer, whose JSON is given as well.
    pub fn of(tokenizer: &Tokenizer, json: &Value) -> Self {
        let added = tokenizer.get_added_tokens_decoder();
        // These tokens are matched in normalised text, or take in white space.
        let odd = |token: &tokenizers::AddedToken| {
            token.lstrip || token.rstrip || (token.normalized && !json["normalizer"].is_null())
        };
        if added.values().any(odd) {
            return Self::Never;
        }
        match Self::of_words(&json["pre_tokenizer"]) {
            // BERT's normaliser puts spaces around Chinese characters.
            Self::White if json["normalizer"]["handle_chinese_chars"] == true => Self::Chinese,
            cut if json["normalizer"].is_null() => cut,
            cut => match json["normalizer"]["type"].as_str() {
                Some("NFC") if cut == Self::Lines => cut,
                // A space composes with nothing before it, but words are known of text as it is.
                Some("NFC" | "NFKC" | "NFD" | "NFKD" | "BertNormalizer" | "Lowercase") => match cut
                {
                    Self::Bytes => Self::White,
                    Self::Lines => Self::Space,
                    cut => cut,
                },
                _ => Self::Never,
            },
        }
    }

    fn of_words(words: &Value) -> Self {
        match words["type"].as_str() {
            Some("BertPreTokenizer" | "Whitespace" | "WhitespaceSplit") => Self::White,
            Some("ByteLevel")
                if words["add_prefix_space"] == false && words["use_regex"] == true =>
            {
                Self::Bytes
            }
            Some("Metaspace") if words["split"] == true && words["replacement"] == "▁" => {
                Self::Space
            }
            Some("Split") if words["pattern"] == json!({"Regex": super::spec::CHARACTER}) => {
                // Nor do Chinese characters compose with anything.
                Self::Chinese
            }
            Some("Sequence") => {
                let parts = words["pretokenizers"].as_array().map_or(&[][..], Vec::as_slice);
                match parts {
                    [first, second] if first["type"] == "Split" => {
                        let known = SPLITS.iter().any(|p| first["pattern"]["Regex"] == *p);
                        let bytes = second["type"] == "ByteLevel"
                            && second["add_prefix_space"] == false
                            && second["use_regex"] == false;
                        let isolated = first["behavior"] == "Isolated" && first["invert"] == false;
                        let line = first["pattern"]["String"] == "\n";
                        if isolated && ((known && bytes) || (line && second["type"] == "Metaspace"))
                        {
                            return match Self::of_words(second) {
                                _ if known => Self::Space,
                                Self::Space if second["prepend_scheme"] == "first" => Self::Lines,
                                other => other,
                            };
                        }
                        Self::Never
                    }
                    _ => Self::Never,
                }
            }
            _ => Self::Never,
        }
    }

    /// The pieces of a text, in order; all of it where it cannot be cut.
    pub fn chunks(self, text: &str) -> Chunks<'_> {
        Chunks { cut: self, rest: text }
    }

    fn is_cut(self, byte: u8) -> bool {
        match self {
            Self::Never => false,
            Self::Space | Self::Lines => byte == b' ',
            Self::White | Self::Bytes | Self::Chinese => {
                matches!(byte, b' ' | b'\n' | b'\t' | b'\r')
            }
        }
    }
}

/// Pieces of a text.
#[derive(Clone, Debug)]
pub(super) struct Chunks<'a> {
    cut: Cut,
    rest: &'a str,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let bytes = self.rest.as_bytes();
        // The first byte begins the piece: a cut comes behind it.
        let mut before = true;
        let mut end = bytes.len();
        if self.cut == Cut::Chinese && is_chinese(bytes) {
            end = 3;
        } else if self.cut != Cut::Never {
            for (at, byte) in bytes.iter().enumerate() {
                if !before && self.cut.is_cut(*byte) && !ends_white(self.rest, at) {
                    end = at;
                    break;
                }
                let rest = || bytes.get(at..).unwrap_or_default();
                if at > 0 && self.cut == Cut::Chinese && is_chinese(rest()) {
                    end = at;
                    break;
                }
                before = is_white(*byte);
            }
        }
        let (chunk, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(chunk)
    }
}

fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Whether a text begins with a character of U+3400 to U+9FFF that is an ideograph: three bytes.
fn is_chinese(text: &[u8]) -> bool {
    let Some([first @ 0xE3..=0xE9, second, third]) = text.first_chunk() else { return false };
    let bits = |byte: &u8| u32::from(byte & 0x3F);
    let character = u32::from(first & 0xF) << 12 | bits(second) << 6 | bits(third);
    matches!(character, 0x3400..=0x4DBF | 0x4E00..=0x9FFF)
}

/// Whether the character that ends at a byte is white space beyond ASCII.
fn ends_white(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let ascii = before.as_bytes().last().is_none_or(u8::is_ascii);
    !ascii && before.chars().next_back().is_some_and(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_stand_before_white_space() {
        let chunks = |cut: Cut, text| cut.chunks(text).collect::<Vec<_>>();
        let text = "a bc\n\n d  e\u{3000} f\t";
        assert_eq!(chunks(Cut::White, text), ["a", " bc", "\n\n d", "  e\u{3000} f", "\t"]);
        assert_eq!(chunks(Cut::Space, text), ["a", " bc\n\n d", "  e\u{3000} f\t"]);
        assert_eq!(chunks(Cut::Lines, text), chunks(Cut::Space, text));
        assert_eq!(chunks(Cut::Never, text), [text]);
        assert_eq!(chunks(Cut::White, ""), [""; 0]);
        assert_eq!(chunks(Cut::White, " a"), [" a"]);
        assert_eq!(chunks(Cut::Chinese, "a 今天b。c d"), ["a", " ", "今", "天", "b。c", " d"]);
    }
}
