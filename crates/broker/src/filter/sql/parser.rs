// SPDX-License-Identifier: Apache-2.0
//! From words to an expression, by the reference's grammar:
//!
//! ```text
//! or         := and (OR and)*
//! and        := equality (AND equality)*
//! equality   := comparison ('=' comparison | '<>' comparison | IS [NOT] NULL)*
//! comparison := unary ( ('>' | '>=' | '<' | '<=') unary
//!                     | [NOT] (CONTAINS | STARTSWITH | ENDSWITH) text
//!                     | [NOT] BETWEEN unary AND unary
//!                     | [NOT] IN '(' text (',' text)* ')' )*
//! unary      := ('+' | '-' | NOT) unary | literal | name | '(' or ')'
//! ```
//!
//! It ends at the first word that cannot go on, and what stands behind that is not looked at: `a > 5 b` is `a > 5`.

use super::expression::{Constant, Expression, Place, Relation};
use super::lexer::{Keyword, Lexer, Sign, Token};
use super::{CONSTANTS_MAX, NESTING_MAX, PROPERTIES_MAX, Problem};

/// What is wrong, and at which byte.
pub(super) type Wrong = (usize, Problem);

/// An expression, where it begins, and how many are inside one another in it.
struct Part {
    at: usize,
    height: usize,
    expression: Expression,
}

pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    next: Option<(usize, Token<'a>)>,
    depth: usize,
    constants: usize,
    names: Vec<&'a str>,
}

impl<'a> Parser<'a> {
    /// The condition that a text says, and the names of its properties in the order of their numbers.
    pub(super) fn parse(text: &'a str) -> Result<(Expression, Vec<&'a str>), Wrong> {
        let mut parser = Parser {
            lexer: Lexer::new(text),
            next: None,
            depth: 0,
            constants: 0,
            names: Vec::new(),
        };
        let part = parser.or()?;
        Ok((condition(part)?.expression, parser.names))
    }

    fn or(&mut self) -> Result<Part, Wrong> {
        self.chain(Keyword::Or, Parser::and, Expression::Any)
    }

    fn and(&mut self) -> Result<Part, Wrong> {
        self.chain(Keyword::And, Parser::equality, Expression::All)
    }

    fn chain(
        &mut self,
        word: Keyword,
        part: fn(&mut Parser<'a>) -> Result<Part, Wrong>,
        all: fn(Vec<Expression>) -> Expression,
    ) -> Result<Part, Wrong> {
        let first = part(self)?;
        if self.peek()? != Token::Keyword(word) {
            return Ok(first);
        }
        let Part {
            at,
            mut height,
            expression,
        } = condition(first)?;
        let mut terms = vec![expression];
        while self.eat(Token::Keyword(word))? {
            let term = condition(part(self)?)?;
            height = height.max(term.height);
            terms.push(term.expression);
        }
        around(at, height, all(terms))
    }

    fn equality(&mut self) -> Result<Part, Wrong> {
        let mut left = self.comparison()?;
        loop {
            left = match self.peek()? {
                Token::Sign(sign @ (Sign::Equal | Sign::NotEqual)) => {
                    self.take()?;
                    let equal = equal(left, self.comparison()?)?;
                    if sign == Sign::Equal { equal } else { not(equal)? }
                }
                Token::Keyword(Keyword::Is) => {
                    self.take()?;
                    let is_not = self.eat(Token::Keyword(Keyword::Not))?;
                    self.expect(Token::Keyword(Keyword::Null))?;
                    let is_null = around(
                        left.at,
                        left.height,
                        Expression::IsNull(Box::new(left.expression)),
                    )?;
                    if is_not { not(is_null)? } else { is_null }
                }
                _ => return Ok(left),
            };
        }
    }

    fn comparison(&mut self) -> Result<Part, Wrong> {
        let mut left = self.unary()?;
        loop {
            left = match self.peek()? {
                Token::Sign(Sign::Above) => self.compare(Relation::Above, left)?,
                Token::Sign(Sign::AtLeast) => self.compare(Relation::AtLeast, left)?,
                Token::Sign(Sign::Below) => self.compare(Relation::Below, left)?,
                Token::Sign(Sign::AtMost) => self.compare(Relation::AtMost, left)?,
                Token::Keyword(Keyword::Not) => {
                    self.take()?;
                    match self.test(left, true)? {
                        Ok(part) => part,
                        Err(_) => return self.unexpected("CONTAINS, STARTSWITH, ENDSWITH, BETWEEN or IN"),
                    }
                }
                _ => match self.test(left, false)? {
                    Ok(part) => part,
                    Err(left) => return Ok(left),
                },
            };
        }
    }

    fn compare(&mut self, relation: Relation, left: Part) -> Result<Part, Wrong> {
        self.take()?;
        let right = self.unary()?;
        let (left, right) = (ordered(left)?, ordered(right)?);
        let height = left.height.max(right.height);
        let both = Box::new([left.expression, right.expression]);
        around(left.at, height, Expression::Compare(relation, both))
    }

    /// A comparison that begins with a word; the left side is given back when there is none.
    fn test(&mut self, left: Part, is_not: bool) -> Result<Result<Part, Part>, Wrong> {
        let Token::Keyword(word) = self.peek()? else {
            return Ok(Err(left));
        };
        let place = match word {
            Keyword::Contains => Place::Anywhere,
            Keyword::StartsWith => Place::Start,
            Keyword::EndsWith => Place::End,
            Keyword::Between => return self.between(left, is_not).map(Ok),
            Keyword::In => return self.one_of(left, is_not).map(Ok),
            _ => return Ok(Err(left)),
        };
        self.take()?;
        let search = Expression::Search {
            place,
            of: Box::new(left.expression),
            text: self.text()?,
            is_not,
        };
        around(left.at, left.height, search).map(Ok)
    }

    fn between(&mut self, value: Part, is_not: bool) -> Result<Part, Wrong> {
        self.take()?;
        let low = self.unary()?;
        self.expect(Token::Keyword(Keyword::And))?;
        let high = self.unary()?;
        let (value, low, high) = (ordered(value)?, ordered(low)?, ordered(high)?);
        if let (Expression::Constant(least), Expression::Constant(most)) = (&low.expression, &high.expression)
            && most.is_below(least)
            && !is_not
        {
            return Err((low.at, Problem::EmptyRange));
        }
        let height = value.height.max(low.height).max(high.height);
        let of = Box::new([value.expression, low.expression, high.expression]);
        let between = if is_not {
            Expression::NotBetween(of)
        } else {
            Expression::Between(of)
        };
        around(value.at, height, between)
    }

    fn one_of(&mut self, left: Part, is_not: bool) -> Result<Part, Wrong> {
        let (at, _) = self.take()?;
        self.expect(Token::Sign(Sign::Open))?;
        let mut texts = vec![self.text()?];
        while self.eat(Token::Sign(Sign::Comma))? {
            texts.push(self.text()?);
        }
        self.expect(Token::Sign(Sign::Close))?;
        let Expression::Property(property) = left.expression else {
            return Err((at, Problem::InWithoutProperty));
        };
        texts.sort_unstable();
        texts.dedup();
        let one_of = Expression::OneOf {
            property,
            texts: texts.into(),
            is_not,
        };
        around(left.at, left.height, one_of)
    }

    /// The only way in which expressions get inside one another, so the only place to count that.
    fn unary(&mut self) -> Result<Part, Wrong> {
        let (at, token) = self.take()?;
        if self.depth == NESTING_MAX {
            return Err((at, Problem::TooDeep));
        }
        self.depth += 1;
        let part = match token {
            Token::Sign(Sign::Plus) => self.unary(),
            Token::Sign(Sign::Minus) => self
                .unary()
                .and_then(|of| around(at, of.height, Expression::Negative(Box::new(of.expression)))),
            Token::Keyword(Keyword::Not) => self.unary().and_then(|of| not(condition(of)?)),
            Token::Sign(Sign::Open) => self.or().and_then(|part| {
                self.expect(Token::Sign(Sign::Close))?;
                Ok(part)
            }),
            token => self.primary(at, token),
        };
        self.depth -= 1;
        part
    }

    fn primary(&mut self, at: usize, token: Token<'a>) -> Result<Part, Wrong> {
        let constant = match token {
            Token::Name(name) => {
                let property = self.property(name).ok_or((at, Problem::TooManyProperties))?;
                return around(at, 0, Expression::Property(property));
            }
            Token::Text(text) => Constant::Text(unquoted(text)),
            Token::Decimal(digits) => whole(digits).ok_or((at, Problem::TooLarge))?,
            Token::Float(digits) => fraction(digits).ok_or((at, Problem::OutOfRange))?,
            Token::Keyword(Keyword::True) => Constant::Bool(true),
            Token::Keyword(Keyword::False) => Constant::Bool(false),
            Token::Keyword(Keyword::Null) => Constant::Null,
            _ => return Err((at, unexpected(token, "a value"))),
        };
        self.count_constant(at)?;
        around(at, 0, Expression::Constant(constant))
    }

    fn property(&mut self, name: &'a str) -> Option<usize> {
        if let Some(known) = self.names.iter().position(|known| *known == name) {
            return Some(known);
        }
        self.names.push(name);
        (self.names.len() <= PROPERTIES_MAX).then(|| self.names.len() - 1)
    }

    fn text(&mut self) -> Result<Box<str>, Wrong> {
        let (at, token) = self.take()?;
        let Token::Text(text) = token else {
            return Err((at, unexpected(token, "a string")));
        };
        self.count_constant(at)?;
        Ok(unquoted(text))
    }

    fn count_constant(&mut self, at: usize) -> Result<(), Wrong> {
        self.constants += 1;
        if self.constants > CONSTANTS_MAX {
            return Err((at, Problem::TooManyConstants));
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(usize, Token<'a>), Wrong> {
        if let Some(next) = self.next {
            return Ok(next);
        }
        let (at, token) = self.lexer.next();
        let next = (at, token.map_err(|problem| (at, problem))?);
        self.next = Some(next);
        Ok(next)
    }

    fn peek(&mut self) -> Result<Token<'a>, Wrong> {
        Ok(self.look()?.1)
    }

    fn take(&mut self) -> Result<(usize, Token<'a>), Wrong> {
        let taken = self.look()?;
        self.next = None;
        Ok(taken)
    }

    fn eat(&mut self, wanted: Token<'_>) -> Result<bool, Wrong> {
        let is_there = self.peek()? == wanted;
        if is_there {
            self.take()?;
        }
        Ok(is_there)
    }

    fn expect(&mut self, wanted: Token<'static>) -> Result<(), Wrong> {
        if self.eat(wanted)? {
            return Ok(());
        }
        self.unexpected(match wanted {
            Token::Keyword(keyword) => keyword.text(),
            Token::Sign(sign) => sign.text(),
            _ => "something else",
        })
    }

    fn unexpected<T>(&mut self, wanted: &'static str) -> Result<T, Wrong> {
        let (at, found) = self.look()?;
        Err((at, unexpected(found, wanted)))
    }
}

fn unexpected(found: Token<'_>, wanted: &'static str) -> Problem {
    let found = match found {
        Token::Keyword(keyword) => keyword.text().into(),
        Token::Name(word) | Token::Decimal(word) | Token::Float(word) => super::shortened(word).into(),
        Token::Text(_) => "a string".into(),
        Token::Sign(sign) => sign.text().into(),
        Token::End => "the end".into(),
    };
    Problem::Unexpected { found, wanted }
}

/// An expression around others.
fn around(at: usize, height: usize, expression: Expression) -> Result<Part, Wrong> {
    let height = height + 1;
    if height > NESTING_MAX {
        return Err((at, Problem::TooDeep));
    }
    Ok(Part {
        at,
        height,
        expression,
    })
}

/// Takes an expression as a condition.
fn condition(part: Part) -> Result<Part, Wrong> {
    match part.expression {
        Expression::Property(property) => Ok(Part {
            expression: Expression::Truth(property),
            ..part
        }),
        ref condition if condition.is_condition() => Ok(part),
        _ => Err((part.at, Problem::NoCondition)),
    }
}

fn not(part: Part) -> Result<Part, Wrong> {
    around(part.at, part.height, Expression::Not(Box::new(part.expression)))
}

fn equal(left: Part, right: Part) -> Result<Part, Wrong> {
    for part in [&left, &right] {
        if part.expression == Expression::Constant(Constant::Null) {
            return Err((part.at, Problem::EqualNull));
        }
    }
    if let (Expression::Constant(Constant::Bool(_)), Expression::Constant(constant)) =
        (&left.expression, &right.expression)
        && !matches!(constant, Constant::Bool(_))
    {
        return Err((right.at, Problem::EqualBool));
    }
    let height = left.height.max(right.height);
    let both = Box::new([left.expression, right.expression]);
    around(left.at, height, Expression::Equal(both))
}

/// Takes an expression as something that has an order.
fn ordered(part: Part) -> Result<Part, Wrong> {
    let has_order = match &part.expression {
        Expression::Constant(constant) => {
            matches!(
                constant,
                Constant::Int(_) | Constant::Long(_) | Constant::Double(_)
            )
        }
        other => !other.is_condition(),
    };
    if has_order {
        Ok(part)
    } else {
        Err((part.at, Problem::NoOrder))
    }
}

/// A number that fits is small, whatever it was written as.
fn whole(digits: &str) -> Option<Constant> {
    let number: i64 = digits.parse().ok()?;
    Some(i32::try_from(number).map_or(Constant::Long(number), Constant::Int))
}

/// The reference takes zero for a number that is too small.
fn fraction(digits: &str) -> Option<Constant> {
    let number: f64 = digits.parse().ok()?;
    (number > 0.0 && number.is_finite()).then_some(Constant::Double(number))
}

fn unquoted(text: &str) -> Box<str> {
    if text.contains('\'') {
        text.replace("''", "'").into()
    } else {
        text.into()
    }
}
