//! Tokens as sacreBLEU has them, so that scores can be compared.

use serde::{Deserialize, Serialize};

/// What BLEU's n-grams are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BleuTokens {
    /// WMT's `mteval-v13a`: words and punctuation of scripts with spaces.
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// Chinese characters are tokens, all else as `13a`.
    #[serde(rename = "zh")]
    Chinese,
    /// Every character but white space is a token.
    #[serde(rename = "char")]
    Characters,
}

impl BleuTokens {
    /// The tokens of a text.
    pub fn split(self, text: &str) -> Vec<String> {
        let text = text.trim_end();
        let line = match self {
            Self::V13a => {
                let mut text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
                for (name, character) in
                    [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")]
                {
                    text = text.replace(name, character);
                }
                western(&format!(" {text} "))
            }
            Self::Chinese => {
                let spaced = |c: char| {
                    let around = if is_chinese(c) { " " } else { "" };
                    [around.to_owned(), c.to_string(), around.to_owned()].concat()
                };
                western(&text.trim().chars().map(spaced).collect::<String>())
            }
            Self::Characters => {
                return text
                    .chars()
                    .filter(|c| !c.is_whitespace())
                    .map(|c| c.to_string())
                    .collect();
            }
        };
        line.split_whitespace().map(str::to_owned).collect()
    }
}

/// `mteval-v13a`'s rules, one after the other, each over the whole line.
fn western(line: &str) -> String {
    let symbol = |c: char| {
        c.is_ascii() && matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/')
    };
    let mut divided = String::with_capacity(line.len() * 2);
    for c in line.chars() {
        if symbol(c) {
            divided.extend([' ', c, ' ']);
        } else {
            divided.push(c);
        }
    }
    let point = |c: char| c == '.' || c == ',';
    let digit = |c: char| c.is_ascii_digit();
    let divided = pairs(&divided, |a, b| !digit(a) && point(b), |a, b| [a, ' ', b, ' ']);
    let divided = pairs(&divided, |a, b| point(a) && !digit(b), |a, b| [' ', a, ' ', b]);
    pairs(&divided, |a, b| digit(a) && b == '-', |a, b| [a, ' ', b, ' '])
}

/// Rewrites pairs of neighbours from left to right; none shares a character with the one before.
fn pairs(
    text: &str,
    matches: impl Fn(char, char) -> bool,
    rewrite: impl Fn(char, char) -> [char; 4],
) -> String {
    let mut rewritten = String::with_capacity(text.len() * 2);
    let mut characters = text.chars().peekable();
    while let Some(a) = characters.next() {
        match characters.next_if(|b| matches(a, *b)) {
            Some(b) => rewritten.extend(rewrite(a, b)),
            None => rewritten.push(a),
        }
    }
    rewritten
}

/// What sacreBLEU takes for Chinese. Its two ranges beyond U+FFFF are written such that they mean
/// U+2001 to U+2A6D and U+2F81 to U+2FA1; scores agree only if ours do.
fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{3400}'..='\u{4db5}' | '\u{4e00}'..='\u{9fbb}'
        | '\u{f900}'..='\u{fa2d}' | '\u{fa30}'..='\u{fa6a}' | '\u{fa70}'..='\u{fad9}'
        | '\u{2001}'..='\u{2a6d}' | '\u{2f81}'..='\u{2fa1}'
        | '\u{ff00}'..='\u{ffef}' | '\u{2e80}'..='\u{2eff}' | '\u{3000}'..='\u{303f}'
        | '\u{31c0}'..='\u{31ef}' | '\u{2f00}'..='\u{2fdf}' | '\u{2ff0}'..='\u{2fff}'
        | '\u{3100}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}' | '\u{fe10}'..='\u{fe1f}'
        | '\u{fe30}'..='\u{fe4f}' | '\u{3200}'..='\u{33ff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What sacreBLEU 2's tokenizers give.
    #[test]
    fn as_sacrebleu() {
        for (text, tokens) in [
            (
                "Hello, world... 3.5-4 (a/b) it's <skipped>&amp; x",
                "Hello , world . . . 3.5 - 4 ( a / b ) it's & x",
            ),
            (
                "a,b 1,000. U.S.A. -5 end-of-line 1-2",
                "a , b 1,000 . U . S . A . -5 end-of-line 1 - 2",
            ),
            ("..", ". ."),
            (". , 5.", ". , 5 ."),
        ] {
            assert_eq!(BleuTokens::V13a.split(text).join(" "), tokens);
        }
        let chinese = BleuTokens::Chinese.split("GDP增长3.5%，好。abc“x”").join(" ");
        assert_eq!(chinese, "GDP 增 长 3.5 % ， 好 。 abc “ x ”");
        assert_eq!(BleuTokens::Characters.split("a 好b "), ["a", "好", "b"]);
    }
}
