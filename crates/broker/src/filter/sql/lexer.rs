// SPDX-License-Identifier: Apache-2.0
//! The words of an expression, one at a time: nothing behind the last one that was asked for is looked at.
//!
//! The longest word wins, which has consequences that are kept as they are: `05` is `0` and then `5`, a line comment
//! without an end of line is two minus signs, and `'a''` is `'a'` and then a quote that nothing closes.

use super::Problem;

/// A word of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Keyword(Keyword),
    /// The name of a property.
    Name(&'a str),
    /// A whole number, without its `L`.
    Decimal(&'a str),
    /// Another number.
    Float(&'a str),
    /// What stands between the quotes, quotes inside still doubled.
    Text(&'a str),
    Sign(Sign),
    End,
}

macro_rules! words {
    ($(#[doc = $doc:literal])+ $kind:ident: $($name:ident $text:literal),+) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum $kind { $($name),+ }

        impl $kind {
            const ALL: &[($kind, &'static str)] = &[$(($kind::$name, $text)),+];

            /// As it is written.
            pub(super) fn text(self) -> &'static str {
                Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, text)| text)
            }
        }
    };
}

words! {
    /// A word that cannot be the name of a property; upper or lower case makes no difference.
    Keyword: Not "NOT", And "AND", Or "OR", Between "BETWEEN", In "IN", True "TRUE", False "FALSE", Null "NULL",
        Is "IS", Contains "CONTAINS", StartsWith "STARTSWITH", EndsWith "ENDSWITH"
}

words! {
    /// An operator or a separator. A longer one stands before its beginning.
    Sign: NotEqual "<>", AtMost "<=", AtLeast ">=", Equal "=", Above ">", Below "<", Open "(", Comma ",", Close ")",
        Plus "+", Minus "-"
}

/// Cuts an expression into words.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    /// The next word and where it begins, or what is wrong there.
    pub(super) fn next(&mut self) -> (usize, Result<Token<'a>, Problem>) {
        while let Some(blank) = blank(&self.text[self.at..]) {
            self.at += blank;
        }
        let start = self.at;
        match token(&self.text[start..]) {
            Ok((token, len)) => {
                self.at += len;
                (start, Ok(token))
            }
            Err(problem) => (start, Err(problem)),
        }
    }
}

/// The length of a blank or a comment at the front, if there is one.
fn blank(rest: &str) -> Option<usize> {
    match rest.as_bytes() {
        [b' ' | b'\t' | b'\n' | b'\r' | b'\x0c', ..] => Some(1),
        [b'-', b'-', ..] => rest.find(['\n', '\r']).map(|end| {
            let line_end = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
            end + line_end
        }),
        [b'/', b'*', ..] => rest[2..].find("*/").map(|end| end + 4),
        _ => None,
    }
}

fn token(rest: &str) -> Result<(Token<'_>, usize), Problem> {
    let Some(first) = rest.chars().next() else {
        return Ok((Token::End, 0));
    };
    if let Some((sign, text)) = Sign::ALL.iter().find(|(_, text)| rest.starts_with(text)) {
        return Ok((Token::Sign(*sign), text.len()));
    }
    match first {
        'a'..='z' | 'A'..='Z' | '_' | '$' => Ok(word(rest)),
        '0'..='9' | '.' => number(rest).ok_or(Problem::NoWord(first)),
        '\'' => text(rest).ok_or(Problem::OpenText),
        '/' if rest.starts_with("/*") => Err(Problem::OpenComment),
        _ => Err(Problem::NoWord(first)),
    }
}

fn word(rest: &str) -> (Token<'_>, usize) {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$';
    let len = rest
        .bytes()
        .position(|byte| !is_inside(byte))
        .unwrap_or(rest.len());
    let word = &rest[..len];
    let keyword = Keyword::ALL
        .iter()
        .find(|(_, text)| word.eq_ignore_ascii_case(text));
    match keyword {
        Some((keyword, _)) => (Token::Keyword(*keyword), len),
        None => (Token::Name(word), len),
    }
}

fn number(rest: &str) -> Option<(Token<'_>, usize)> {
    let whole = digits(rest);
    let part = rest[whole..]
        .strip_prefix('.')
        .map(|behind| 1 + digits(behind))
        .filter(|part| whole + part > 1);
    let plain = whole + part.unwrap_or(0);
    let exponent = exponent(&rest[plain..]);
    if whole == 0 && part.is_none() {
        None
    } else if part.is_some() || exponent > 0 {
        let len = plain + exponent;
        Some((Token::Float(&rest[..len]), len))
    } else if rest.starts_with('0') {
        Some((Token::Decimal(&rest[..1]), 1))
    } else {
        let suffix = usize::from(rest[whole..].starts_with(['l', 'L']));
        Some((Token::Decimal(&rest[..whole]), whole + suffix))
    }
}

fn digits(text: &str) -> usize {
    text.bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len())
}

/// The length of an exponent at the front; 0 when there is none.
fn exponent(text: &str) -> usize {
    let Some(behind) = text.strip_prefix(['e', 'E']) else {
        return 0;
    };
    let unsigned = behind.strip_prefix(['+', '-']).unwrap_or(behind);
    match digits(unsigned) {
        0 => 0,
        digits => text.len() - unsigned.len() + digits,
    }
}

fn text(rest: &str) -> Option<(Token<'_>, usize)> {
    let bytes = rest.as_bytes();
    let (mut at, mut end) = (1, None);
    while let Some(quote) = bytes.get(at..)?.iter().position(|byte| *byte == b'\'') {
        at += quote;
        end = Some(at);
        // Two of them are one inside.
        if bytes.get(at + 1) != Some(&b'\'') {
            break;
        }
        at += 2;
    }
    end.map(|end| (Token::Text(&rest[1..end]), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Token<'_>> {
        let mut lexer = Lexer::new(text);
        std::iter::from_fn(|| match lexer.next().1 {
            Ok(Token::End) | Err(_) => None,
            Ok(token) => Some(token),
        })
        .collect()
    }

    #[test]
    fn the_longest_word_wins() {
        use Token::{Decimal, Float, Name, Text};
        assert_eq!(words("05L"), [Decimal("0"), Decimal("5")]);
        assert_eq!(
            words("00.5 5. .5 5E10 5.e+1"),
            [
                Float("00.5"),
                Float("5."),
                Float(".5"),
                Float("5E10"),
                Float("5.e+1")
            ]
        );
        assert_eq!(
            words("5E 5e+ 5.x"),
            [
                Decimal("5"),
                Name("E"),
                Decimal("5"),
                Name("e"),
                Token::Sign(Sign::Plus),
                Float("5."),
                Name("x")
            ]
        );
        assert_eq!(words("'a''b'''c"), [Text("a''b''"), Name("c")]);
        assert_eq!(words("'a''"), [Text("a")]);
        assert_eq!(
            words("nOt NOTa $_1"),
            [Token::Keyword(Keyword::Not), Name("NOTa"), Name("$_1")]
        );
    }

    #[test]
    fn a_line_comment_without_an_end_of_line_is_two_signs() {
        let minus = Token::Sign(Sign::Minus);
        assert_eq!(words("--x"), [minus, minus, Token::Name("x")]);
        assert_eq!(
            words("--x\r\ny--z\rk--\nw"),
            [Token::Name("y"), Token::Name("k"), Token::Name("w")]
        );
        assert_eq!(
            words("a/* '*/b/***/c/*/*/d"),
            [
                Token::Name("a"),
                Token::Name("b"),
                Token::Name("c"),
                Token::Name("d")
            ]
        );
    }

    #[test]
    fn what_is_no_word_is_told() {
        for (text, problem) in [
            ("!=", Problem::NoWord('!')),
            (".", Problem::NoWord('.')),
            ("é", Problem::NoWord('é')),
            ("/", Problem::NoWord('/')),
            ("/* a", Problem::OpenComment),
            ("'a", Problem::OpenText),
        ] {
            assert_eq!(Lexer::new(text).next(), (0, Err(problem)), "{text}");
        }
    }
}
