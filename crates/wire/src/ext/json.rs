// SPDX-License-Identifier: Apache-2.0
//! Finds the fields of a JSON object, once; after that they are read by their places.

use std::cell::RefCell;
use std::ops::Deref;

use crate::scan::{Scan, SyntaxError, Token};

/// Where a field stands in the text its object was found in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) key: Token,
    pub(super) value: Token,
}

/// A frame of tiny fields would otherwise cost several times its size in memory. No client sends more than 30.
const FIELDS_MAX: usize = 4096;

/// Room for fields that a thread keeps for later frames: enough for those that arrive together.
const SPARE_MAX: usize = 64;
/// More than any client sends.
const FIELDS_KEPT: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<Vec<Field>>> = const { RefCell::new(Vec::new()) };
}

/// The fields of an object. Their room goes from frame to frame: the system's allocator keeps few of a size at hand.
#[derive(Clone, Default)]
pub(super) struct Fields(Vec<Field>);

impl Fields {
    fn new() -> Fields {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
        Fields(spare.ok().flatten().unwrap_or_else(|| Vec::with_capacity(16)))
    }

    pub(super) fn into_vec(mut self) -> Vec<Field> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        if !(1..=FIELDS_KEPT).contains(&self.0.capacity()) {
            return;
        }
        let mut fields = std::mem::take(&mut self.0);
        fields.clear();
        // A thread that ends keeps nothing.
        _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_MAX {
                spare.push(fields);
            }
        });
    }
}

impl Deref for Fields {
    type Target = [Field];
    fn deref(&self) -> &[Field] {
        &self.0
    }
}

/// Takes the object that is next.
pub(super) fn fields(scan: &mut Scan<'_>) -> Result<Fields, SyntaxError> {
    scan.expect(b'{', "an object begins with {")?;
    if scan.accept(b'}') {
        return Ok(Fields::default());
    }
    let mut fields = Fields::new();
    loop {
        fields.0.push(match scan.plain_pair() {
            Some((key, value)) => Field { key, value },
            None => field(scan)?,
        });
        if fields.len() > FIELDS_MAX {
            return Err(scan.error("there are too many fields"));
        }
        if !scan.accept(b',') {
            scan.expect(b'}', "a comma is expected")?;
            return Ok(fields);
        }
    }
}

fn field(scan: &mut Scan<'_>) -> Result<Field, SyntaxError> {
    let key = scan.string_token()?;
    scan.expect(b':', "a colon is expected")?;
    let value = scan.value_token()?;
    Ok(Field { key, value })
}
