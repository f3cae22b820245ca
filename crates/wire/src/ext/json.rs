// SPDX-License-Identifier: Apache-2.0
//! Finds the fields of a JSON object, once; after that they are read by their places.

use crate::scan::{Scan, SyntaxError, Token};

/// Where a field stands in the text its object was found in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) key: Token,
    pub(super) value: Token,
}

/// A frame of tiny fields would otherwise cost several times its size in memory. No client sends more than 30.
const FIELDS_MAX: usize = 4096;

/// Takes the object that is next.
pub(super) fn fields(scan: &mut Scan<'_>) -> Result<Vec<Field>, SyntaxError> {
    scan.expect(b'{', "an object begins with {")?;
    let mut fields = Vec::new();
    if scan.accept(b'}') {
        return Ok(fields);
    }
    fields.reserve(16);
    loop {
        fields.push(match scan.plain_pair() {
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
