// SPDX-License-Identifier: Apache-2.0
//! Messages chosen by their properties, with the expressions that the reference calls SQL92.
//!
//! An expression is compiled once and then asked about the properties of each message as they are stored: it takes one
//! pass over them and allocates nothing. It means what it means in the reference, whose surprises included (see
//! `expression.rs` and `lexer.rs`); only a message for which it is *true* is wanted, not one for which that cannot be
//! said. The sizes of an expression are bounded here, in the reference they are not.

mod expression;
mod lexer;
mod number;
mod parser;

use thiserror::Error;

use self::expression::Expression;
pub use self::expression::Incomparable;
use self::parser::Parser;

/// Most bytes of an expression.
pub const EXPRESSION_BYTES_MAX: usize = 64 * 1024;
/// How far expressions may be inside one another.
pub const NESTING_MAX: usize = 100;
/// Most literals.
pub const CONSTANTS_MAX: usize = 4_096;
/// Most different properties.
pub const PROPERTIES_MAX: usize = 64;
/// As much of a word as a message to a person holds.
const SHOWN_CHARS_MAX: usize = 32;

/// A compiled expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Sql {
    condition: Expression,
    /// The properties by name, ascending, with their numbers in the expression.
    names: Box<[(Box<str>, usize)]>,
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem} (at character {at})")]
pub struct CompileError {
    /// Which character, counted from 1.
    pub at: usize,
    /// What is wrong there.
    #[source]
    pub problem: Problem,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// A character that begins no word.
    #[error("{0:?} is not understood")]
    NoWord(char),
    /// A string without its closing quote.
    #[error("the string does not end")]
    OpenText,
    /// A comment without its end.
    #[error("the comment does not end")]
    OpenComment,
    /// A word where another one has to stand.
    #[error("found {found}, expected {wanted}")]
    Unexpected {
        /// The word.
        found: Box<str>,
        /// What could stand there.
        wanted: &'static str,
    },
    /// A value where something true or false has to stand.
    #[error("this is a value, expected a condition")]
    NoCondition,
    /// `=` or `<>` with NULL.
    #[error("nothing is equal or not equal to NULL; use IS NULL or IS NOT NULL")]
    EqualNull,
    /// TRUE or FALSE compared with a literal of another kind.
    #[error("TRUE and FALSE are not compared with numbers or strings")]
    EqualBool,
    /// Something that is no number next to `>`, `>=`, `<`, `<=` or BETWEEN.
    #[error("only properties and numbers have an order")]
    NoOrder,
    /// BETWEEN with the larger number first.
    #[error("BETWEEN expects the smaller number first")]
    EmptyRange,
    /// IN behind something else.
    #[error("IN stands behind a property")]
    InWithoutProperty,
    /// A whole number beyond 64 bits.
    #[error("the number is larger than {}", i64::MAX)]
    TooLarge,
    /// Another number beyond what a double can hold, or zero.
    #[error("the number is zero, or larger or smaller than a double can be")]
    OutOfRange,
    /// More than [`EXPRESSION_BYTES_MAX`].
    #[error("the expression has {0} bytes, allowed are {EXPRESSION_BYTES_MAX}")]
    TooLong(usize),
    /// More than [`NESTING_MAX`].
    #[error("more than {NESTING_MAX} expressions inside one another")]
    TooDeep,
    /// More than [`CONSTANTS_MAX`].
    #[error("more than {CONSTANTS_MAX} numbers and strings")]
    TooManyConstants,
    /// More than [`PROPERTIES_MAX`].
    #[error("more than {PROPERTIES_MAX} properties")]
    TooManyProperties,
}

impl Sql {
    /// Compiles an expression.
    pub fn compile(text: &str) -> Result<Sql, CompileError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            let problem = Problem::TooLong(text.len());
            return Err(CompileError { at: 1, problem });
        }
        let (condition, names) = Parser::parse(text).map_err(|(at, problem)| CompileError {
            at: 1 + text.get(..at).map_or(0, |before| before.chars().count()),
            problem,
        })?;
        let numbered = names.into_iter().enumerate();
        let mut names: Vec<(Box<str>, usize)> =
            numbered.map(|(number, name)| (name.into(), number)).collect();
        names.sort_unstable();
        Ok(Sql {
            condition,
            names: names.into(),
        })
    }

    /// Whether a message with these properties, as they are stored, is wanted.
    #[must_use]
    pub fn matches(&self, properties: &[u8]) -> bool {
        self.evaluate(properties) == Ok(Some(true))
    }

    /// What the expression comes to: true, false, neither, or a failure.
    pub fn evaluate(&self, properties: &[u8]) -> Result<Option<bool>, Incomparable> {
        if std::str::from_utf8(properties).is_err() {
            // Java reads what is no UTF-8 as well as it can.
            let readable = String::from_utf8_lossy(properties).into_owned();
            return self.evaluate_utf8(readable.as_bytes());
        }
        self.evaluate_utf8(properties)
    }

    fn evaluate_utf8(&self, properties: &[u8]) -> Result<Option<bool>, Incomparable> {
        let mut slots = [None; PROPERTIES_MAX];
        for (name, value) in wire::properties::pairs(properties) {
            let known = self.names.binary_search_by(|(known, _)| (**known).cmp(name));
            // Of several with one name the last wins.
            if let Some(slot) = known
                .ok()
                .and_then(|known| self.names.get(known))
                .and_then(|(_, number)| slots.get_mut(*number))
            {
                *slot = Some(value);
            }
        }
        self.condition.truth(&slots)
    }
}

fn shortened(word: &str) -> &str {
    word.char_indices()
        .nth(SHOWN_CHARS_MAX)
        .map_or(word, |(end, _)| &word[..end])
}

#[cfg(test)]
mod tests;
