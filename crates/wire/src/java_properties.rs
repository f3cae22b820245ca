// SPDX-License-Identifier: Apache-2.0
//! The text format of Java properties files: what `broker.conf`, requests 25, 26, 318 and 319 carry.
//!
//! A line is `key=value`, `key:value` or `key value`; blanks around the separator are dropped. `#` and `!` start a
//! comment line. A line ends at `\n`, `\r` or both. One that ends in an odd number of backslashes goes on in the next one,
//! whose leading blanks are dropped; one that is nothing but a backslash counts as empty. `\t \n \r \f \uXXXX` are escapes; any other escaped character stands for itself.
//!
//! Keys are not interpreted here, and a key may come twice: the later one wins, as in Java.

use thiserror::Error;

use crate::Str;

/// One `key=value` of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line it starts on, from 1.
    pub line: usize,
    /// Lines that it takes up (continuations).
    pub lines: usize,
    /// The key, without escapes.
    pub key: Str,
    /// The value, without escapes; trailing blanks belong to it.
    pub value: Str,
}

/// The text is not in the format.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: \\u must be followed by four hexadecimal digits")]
pub struct PropertiesError {
    /// The line the broken entry starts on, from 1.
    pub line: usize,
}

/// Reads all entries, in their order.
pub fn parse(text: &str) -> Result<Vec<Entry>, PropertiesError> {
    let mut entries = Vec::new();
    let mut lines = lines(text).enumerate();
    while let Some((index, first)) = lines.next() {
        let start = first.trim_start_matches(is_blank);
        if start.is_empty() || start == "\\" || start.starts_with(['#', '!']) {
            continue;
        }
        let mut count = 1;
        let mut logical = start.to_owned();
        while goes_on(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            count += 1;
            logical.push_str(next.trim_start_matches(is_blank));
        }
        let line = index + 1;
        let (key, value) = split(&logical);
        entries.push(Entry {
            line,
            lines: count,
            key: plain(key, line)?,
            value: plain(value, line)?,
        });
    }
    Ok(entries)
}

/// Writes entries, one per line, with what must be escaped escaped.
pub fn write<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (key, value) in entries {
        write_entry(&mut text, key, value);
    }
    text
}

/// The text with `key` set to `value`: in place if it was there, else in a new last line. Comments stay.
pub fn edit(text: &str, key: &str, value: &str) -> Result<String, PropertiesError> {
    let mut entry = String::new();
    write_entry(&mut entry, key, value);
    let old: Vec<Entry> = parse(text)?.into_iter().filter(|e| e.key == key).collect();
    let Some(last) = old.last() else {
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        // A last line that wants to go on gets an empty one.
        let gap = if lines(text).last().is_some_and(goes_on) {
            "\n"
        } else {
            ""
        };
        return Ok(format!("{text}{end}{gap}{entry}"));
    };
    let mut edited = String::with_capacity(text.len() + entry.len());
    for (index, line) in lines(text).enumerate() {
        let number = index + 1;
        if number == last.line {
            edited.push_str(&entry);
        } else if !old.iter().any(|e| (e.line..e.line + e.lines).contains(&number)) {
            edited.push_str(line);
            edited.push('\n');
        }
    }
    Ok(edited)
}

/// The lines of a text, without what ends them.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let (line, behind) = rest.split_at(end);
        let next = behind
            .strip_prefix("\r\n")
            .or_else(|| behind.strip_prefix(['\n', '\r']));
        rest = next.unwrap_or(behind);
        Some(line)
    })
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Whether the line ends in an odd number of backslashes.
fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// Cuts at the first separator that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        if !escaped && (is_blank(c) || c == '=' || c == ':') {
            end = at;
            break;
        }
        escaped = c == '\\' && !escaped;
    }
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_blank))
}

/// Resolves escapes.
fn plain(text: &str, line: usize) -> Result<Str, PropertiesError> {
    if !text.contains('\\') {
        return Ok(Str::from(text));
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let mut buffer = [0; 2];
    while let Some(c) = chars.next() {
        let c = if c == '\\' { chars.next() } else { None }.map_or(Ok(c), |escaped| match escaped {
            't' => Ok('\t'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            'f' => Ok('\u{c}'),
            'u' => Err(()),
            other => Ok(other),
        });
        match c {
            Ok(c) => units.extend_from_slice(c.encode_utf16(&mut buffer)),
            Err(()) => units.push(unit(&mut chars).ok_or(PropertiesError { line })?),
        }
    }
    // Escapes are UTF-16 units: two of them may make one character.
    Ok(Str::from(String::from_utf16_lossy(&units)))
}

fn unit(chars: &mut std::str::Chars<'_>) -> Option<u16> {
    let mut unit = 0u32;
    for _ in 0..4 {
        unit = unit * 16 + chars.next()?.to_digit(16)?;
    }
    u16::try_from(unit).ok()
}

fn write_entry(text: &mut String, key: &str, value: &str) {
    write_part(text, key, true);
    text.push('=');
    write_part(text, value, false);
    text.push('\n');
}

fn write_part(text: &mut String, part: &str, is_key: bool) {
    for (at, c) in part.char_indices() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\u{c}' => text.push_str("\\f"),
            ' ' if is_key || at == 0 => text.push_str("\\ "),
            '=' | ':' if is_key => {
                text.push('\\');
                text.push(c);
            }
            '#' | '!' if is_key && at == 0 => {
                text.push('\\');
                text.push(c);
            }
            _ => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let entries = parse(text).unwrap();
        entries
            .into_iter()
            .map(|e| (e.key.to_string(), e.value.to_string()))
            .collect()
    }

    #[test]
    fn a_last_line_that_goes_on_behind_a_carriage_return_does_not_swallow_what_is_added() {
        let edited = edit("a=1\\\r", "b", "2").unwrap();
        assert!(
            pairs(&edited).contains(&("b".to_owned(), "2".to_owned())),
            "{edited:?}"
        );
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn every_separator_is_taken_and_the_blanks_around_it_dropped() {
        let text = "a=1\nb : 2\n c 3\nd\t=\t4\ne\nf==5\n";
        let expected = [
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("d", "4"),
            ("e", ""),
            ("f", "=5"),
        ];
        assert_eq!(pairs(text), expected.map(|(k, v)| pair(k, v)));
    }

    #[test]
    fn comments_and_blank_lines_are_skipped_but_counted() {
        let entries = parse("# c\n\n  ! d\r\nlistenPort=10911 # not a comment").unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].line, 4);
        assert_eq!(entries[0].value, "10911 # not a comment");
    }

    #[test]
    fn an_odd_number_of_trailing_backslashes_continues_the_line() {
        assert_eq!(
            pairs("a=1,\\\n   2,\\\r\n\t3\nb=x\\\\\nc=y"),
            [pair("a", "1,2,3"), pair("b", "x\\"), pair("c", "y")]
        );
        assert_eq!(pairs("a=1\\"), [pair("a", "1")]);
    }

    #[test]
    fn escapes_stand_for_their_characters() {
        assert_eq!(
            pairs("a\\ b\\=c=\\t\\u00e9\\uD83D\\uDE00\\z"),
            [pair("a b=c", "\té😀z")]
        );
        assert_eq!(parse("x=1\ny=\\u12"), Err(PropertiesError { line: 2 }));
    }

    #[test]
    fn editing_keeps_everything_else() {
        let text = "# mine\na=1\nb=2,\\\n  3\nc=4\na=5";
        assert_eq!(edit(text, "b", "x y").unwrap(), "# mine\na=1\nb=x y\nc=4\na=5\n");
        assert_eq!(edit(text, "a", "6").unwrap(), "# mine\nb=2,\\\n  3\nc=4\na=6\n");
        assert_eq!(edit("a=1", "b", "2").unwrap(), "a=1\nb=2\n");
        assert_eq!(edit("a=1\\", "b", "2").unwrap(), "a=1\\\n\nb=2\n");
    }

    #[test]
    fn a_line_ends_at_a_carriage_return_too() {
        assert_eq!(
            pairs("a=1\r#c\rb=2,\\\r  3\r\r\nc=4\r"),
            [pair("a", "1"), pair("b", "2,3"), pair("c", "4")]
        );
        // What only looks like an empty key now would be one as soon as a line is written anew.
        let text = "\u{13}\r\r-\r\r\n\r\r\r\r\n\r:";
        let edited = edit(text, "", "new").unwrap();
        assert_eq!(
            pairs(&edited),
            [pair("\u{13}", ""), pair("-", ""), pair("", "new")]
        );
    }

    #[test]
    fn a_line_that_is_only_a_backslash_is_empty() {
        assert_eq!(pairs("\\\n# c\n \\\r\na=1"), [pair("a", "1")]);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(list in proptest::collection::vec((".{1,12}", ".{0,20}"), 0..8)) {
            let text = write(list.iter().map(|(k, v)| (k.as_str(), v.as_str())));
            prop_assert_eq!(pairs(&text), list);
        }
    }
}
