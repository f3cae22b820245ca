// SPDX-License-Identifier: Apache-2.0
//! Any text is an SQL expression or refused at a character that it has; one that compiles says the same twice, and is
//! wanted only when it is true.

use broker::sql::Sql;

pub(crate) fn run(bytes: &[u8]) {
    let Some((text, properties)) = fuzz::input::<(&str, &[u8])>(bytes) else {
        return;
    };
    match Sql::compile(text) {
        Ok(sql) => {
            let result = sql.evaluate(properties);
            assert_eq!(sql.matches(properties), result == Ok(Some(true)));
            assert_eq!(
                Sql::compile(text).map(|again| again.evaluate(properties)),
                Ok(result)
            );
        }
        Err(error) => assert!((1..=text.chars().count() + 1).contains(&error.at)),
    }
}
