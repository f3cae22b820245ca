// SPDX-License-Identifier: Apache-2.0
//! Any text is an SQL expression or refused at a character that it has; one that compiles says the same twice, and is
//! wanted only when it is true.
#![no_main]

use broker::sql::Sql;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8])| {
    let (text, properties) = input;
    match Sql::compile(text) {
        Ok(sql) => {
            let result = sql.evaluate(properties);
            assert_eq!(sql.matches(properties), result == Ok(Some(true)));
            assert_eq!(Sql::compile(text).map(|again| again.evaluate(properties)), Ok(result));
        }
        Err(error) => assert!((1..=text.chars().count() + 1).contains(&error.at)),
    }
});
