// SPDX-License-Identifier: Apache-2.0
//! A compiled expression, and what it comes to for one message.
//!
//! Logic has three values: a comparison with a property that is not there is neither true nor false. Properties are
//! strings, and a literal decides what they are compared as: a property next to a whole number has to be a whole number.
//! If it is not, the whole expression fails. Which operand stands left matters, as it does in the reference.

use std::cmp::Ordering;

use super::number;

/// Values are compared that cannot be, such as `abc` with 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the values cannot be compared")]
pub struct Incomparable;

/// The properties an expression speaks of, by their number in it.
pub(super) type Slots<'a> = [Option<&'a str>];

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
}

/// Which results of a comparison are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// Where a text is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    Start,
    End,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Property(usize),
    Constant(Constant),
    Negative(Box<Expression>),
    /// A property where a condition is expected. As all of them are strings, it is never true.
    Truth(usize),
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Equal(Box<[Expression; 2]>),
    IsNull(Box<Expression>),
    Compare(Relation, Box<[Expression; 2]>),
    /// Value, lowest and highest.
    Between(Box<[Expression; 3]>),
    NotBetween(Box<[Expression; 3]>),
    OneOf {
        property: usize,
        /// Ascending.
        texts: Box<[Box<str>]>,
        is_not: bool,
    },
    Search {
        place: Place,
        of: Box<Expression>,
        text: Box<str>,
        is_not: bool,
    },
}

/// What a part of an expression comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Value<'a> {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

impl Expression {
    /// Whether this is a condition, and no value.
    pub(super) fn is_condition(&self) -> bool {
        match self {
            Expression::Constant(constant) => matches!(constant, Constant::Bool(_) | Constant::Null),
            Expression::Property(_) | Expression::Negative(_) => false,
            _ => true,
        }
    }

    /// Whether a condition holds; `None` when that cannot be said.
    pub(super) fn truth(&self, slots: &Slots<'_>) -> Result<Option<bool>, Incomparable> {
        match self {
            Expression::Constant(Constant::Bool(truth)) => Ok(Some(*truth)),
            Expression::Property(_) | Expression::Constant(_) | Expression::Negative(_) => Ok(None),
            Expression::Truth(property) => Ok(slot(slots, *property).map(|_| false)),
            Expression::Not(of) => Ok(of.truth(slots)?.map(|truth| !truth)),
            Expression::All(terms) => first(terms, false, slots),
            Expression::Any(terms) => first(terms, true, slots),
            Expression::Equal(both) => equal(both[0].value(slots)?, both[1].value(slots)?),
            Expression::IsNull(of) => Ok(Some(of.value(slots)? == Value::Null)),
            Expression::Compare(relation, both) => relation.holds(both[0].value(slots)?, &both[1], slots),
            Expression::Between(of) => {
                let value = of[0].value(slots)?;
                let (above, below) = (Relation::AtLeast, Relation::AtMost);
                match above.holds(value, &of[1], slots)? {
                    Some(false) => Ok(Some(false)),
                    low => Ok(and(low, below.holds(value, &of[2], slots)?)),
                }
            }
            Expression::NotBetween(of) => {
                let value = of[0].value(slots)?;
                let (below, above) = (Relation::Below, Relation::Above);
                match below.holds(value, &of[1], slots)? {
                    Some(true) => Ok(Some(true)),
                    low => Ok(or(low, above.holds(value, &of[2], slots)?)),
                }
            }
            Expression::OneOf {
                property,
                texts,
                is_not,
            } => {
                let is_one = |text: &str| texts.binary_search_by(|one| (**one).cmp(text)).is_ok();
                Ok(slot(slots, *property).map(|text| is_one(text) != *is_not))
            }
            Expression::Search {
                place,
                of,
                text,
                is_not,
            } => {
                // To look for nothing finds nothing, and not even its absence.
                if text.is_empty() {
                    return Ok(Some(false));
                }
                Ok(Some(match of.value(slots)? {
                    Value::Text(within) => place.finds(within, text) != *is_not,
                    _ => false,
                }))
            }
        }
    }

    fn value<'a>(&'a self, slots: &Slots<'a>) -> Result<Value<'a>, Incomparable> {
        Ok(match self {
            Expression::Property(property) => slot(slots, *property).map_or(Value::Null, Value::Text),
            Expression::Constant(constant) => constant.value(),
            Expression::Negative(of) => match of.value(slots)? {
                Value::Int(number) => Value::Int(number.wrapping_neg()),
                Value::Long(number) => Value::Long(number.wrapping_neg()),
                Value::Double(number) => Value::Double(-number),
                _ => Value::Null,
            },
            condition => condition.truth(slots)?.map_or(Value::Null, Value::Bool),
        })
    }
}

impl Constant {
    fn value(&self) -> Value<'_> {
        match self {
            Constant::Null => Value::Null,
            Constant::Bool(truth) => Value::Bool(*truth),
            Constant::Int(number) => Value::Int(*number),
            Constant::Long(number) => Value::Long(*number),
            Constant::Double(number) => Value::Double(*number),
            Constant::Text(text) => Value::Text(text),
        }
    }

    /// Whether this is a number below another number.
    pub(super) fn is_below(&self, other: &Constant) -> bool {
        compare(self.value(), other.value()).is_ok_and(|order| order == Some(Ordering::Less))
    }
}

impl Place {
    fn finds(self, within: &str, text: &str) -> bool {
        match self {
            Place::Anywhere => within.contains(text),
            Place::Start => within.starts_with(text),
            Place::End => within.ends_with(text),
        }
    }
}

impl Relation {
    /// The right side is only looked at when there is a left one.
    fn holds(
        self,
        left: Value<'_>,
        right: &Expression,
        slots: &Slots<'_>,
    ) -> Result<Option<bool>, Incomparable> {
        if left == Value::Null {
            return Ok(None);
        }
        let order = match (left, right.value(slots)?) {
            (_, Value::Null) => return Ok(None),
            // Two properties are put in order as numbers.
            (Value::Text(left), Value::Text(right)) => {
                let left = number::double(left).ok_or(Incomparable)?;
                let right = number::double(right).ok_or(Incomparable)?;
                java_order(left, right)
            }
            // What has no order counts as less.
            (left, right) => compare(left, right)?.unwrap_or(Ordering::Less),
        };
        Ok(Some(match self {
            Relation::Above => order.is_gt(),
            Relation::AtLeast => order.is_ge(),
            Relation::Below => order.is_lt(),
            Relation::AtMost => order.is_le(),
        }))
    }
}

fn slot<'a>(slots: &Slots<'a>, property: usize) -> Option<&'a str> {
    slots.get(property).copied().flatten()
}

/// Terms until one has the value that decides. One that cannot be said leaves the rest to decide.
fn first(terms: &[Expression], deciding: bool, slots: &Slots<'_>) -> Result<Option<bool>, Incomparable> {
    let mut result = Some(!deciding);
    for term in terms {
        match term.truth(slots)? {
            Some(truth) if truth == deciding => return Ok(Some(deciding)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

fn and(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn or(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    and(left.map(|left| !left), right.map(|right| !right)).map(|truth| !truth)
}

/// Two that are not there are equal; something is not equal to nothing; and whether nothing is equal to something
/// cannot be said.
fn equal(left: Value<'_>, right: Value<'_>) -> Result<Option<bool>, Incomparable> {
    match (left, right) {
        (Value::Null, Value::Null) => Ok(Some(true)),
        (Value::Null, _) => Ok(None),
        (_, Value::Null) => Ok(Some(false)),
        (left, right) => Ok(Some(compare(left, right)? == Some(Ordering::Equal))),
    }
}

/// Compares two values. A string becomes what the other one is; `None` when nothing can become the other.
fn compare(left: Value<'_>, right: Value<'_>) -> Result<Option<Ordering>, Incomparable> {
    let of = |order: Ordering| Ok(Some(order));
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => of(left.cmp(&right)),
        // The reference converts the wrong one of the two, and fails.
        (Value::Bool(_), Value::Text(_)) => Err(Incomparable),
        (Value::Text(left), Value::Bool(right)) => of(left.eq_ignore_ascii_case("true").cmp(&right)),
        (Value::Text(left), Value::Text(right)) => of(left.cmp(right)),
        (Value::Text(left), Value::Int(right)) => of(number::int(left).ok_or(Incomparable)?.cmp(&right)),
        (Value::Int(left), Value::Text(right)) => of(left.cmp(&number::int(right).ok_or(Incomparable)?)),
        (Value::Text(left), Value::Long(right)) => of(number::long(left).ok_or(Incomparable)?.cmp(&right)),
        (Value::Long(left), Value::Text(right)) => of(left.cmp(&number::long(right).ok_or(Incomparable)?)),
        (Value::Text(left), Value::Double(right)) => {
            of(java_order(number::double(left).ok_or(Incomparable)?, right))
        }
        (Value::Double(left), Value::Text(right)) => {
            of(java_order(left, number::double(right).ok_or(Incomparable)?))
        }
        (Value::Double(left), right) => Ok(right.as_double().map(|right| java_order(left, right))),
        (left, Value::Double(right)) => Ok(left.as_double().map(|left| java_order(left, right))),
        (left, right) => Ok(left
            .as_long()
            .zip(right.as_long())
            .map(|(left, right)| left.cmp(&right))),
    }
}

impl Value<'_> {
    fn as_long(self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(number.into()),
            Value::Long(number) => Some(number),
            _ => None,
        }
    }

    fn as_double(self) -> Option<f64> {
        match self {
            Value::Double(number) => Some(number),
            whole => whole.as_long().map(|number| number as f64),
        }
    }
}

/// `Double.compareTo`: minus zero lies below zero, and what is no number above all.
fn java_order(left: f64, right: f64) -> Ordering {
    let canonical = |number: f64| if number.is_nan() { f64::NAN } else { number };
    match left.partial_cmp(&right) {
        Some(Ordering::Equal) | None => canonical(left).total_cmp(&canonical(right)),
        Some(order) => order,
    }
}
