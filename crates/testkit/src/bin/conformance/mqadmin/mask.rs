// SPDX-License-Identifier: Apache-2.0
//! What differs between two runs of the same command against the same server, and nothing else, is replaced by a word:
//! times, ports, ids, durations. What a single command prints of the machine beyond that, its step says.

/// What a step says of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mask {
    /// The number behind this text.
    After(&'static str),
    /// These words of lines that have so many.
    Columns(usize, &'static [usize]),
    /// Everything behind the line with this text.
    Cut(&'static str),
    /// The values of these keys.
    Values(&'static [&'static str]),
}

/// The lines of a text, masked. `known` are names and the values they have in this run.
pub(crate) fn masked(text: &str, known: &[(String, String)], masks: &[Mask]) -> Vec<String> {
    let mut lines = Vec::new();
    for line in named(text, known).lines() {
        let mut line = generic(line);
        for mask in masks {
            line = mask.apply(line);
        }
        let is_last = masks
            .iter()
            .any(|mask| matches!(mask, Mask::Cut(text) if line.contains(text)));
        lines.push(line.trim_end().to_owned());
        if is_last {
            break;
        }
    }
    lines
}

impl Mask {
    fn apply(self, line: String) -> String {
        match self {
            Mask::After(label) => number_after(line, label),
            Mask::Columns(of, which) if !line.starts_with('#') => {
                let words: Vec<&str> = line.split_whitespace().collect();
                if words.len() != of {
                    return line;
                }
                let masked = words.iter().enumerate();
                let masked = masked.map(|(at, word)| if which.contains(&at) { "<n>" } else { *word });
                masked.collect::<Vec<&str>>().join(" ")
            }
            Mask::Values(keys) => {
                let cut = line.split_once([':', '=']);
                match cut {
                    Some((key, _))
                        if key
                            .split_whitespace()
                            .last()
                            .is_some_and(|key| keys.contains(&key)) =>
                    {
                        format!("{key}<value>")
                    }
                    _ => line,
                }
            }
            Mask::Columns(..) | Mask::Cut(_) => line,
        }
    }
}

fn number_after(line: String, label: &str) -> String {
    let mut masked = String::with_capacity(line.len());
    let mut rest = line.as_str();
    while let Some((before, after)) = rest.split_once(label) {
        let number = |c: char| c.is_ascii_digit() || c == '.' || c == '-' || c == 'E';
        rest = after.trim_start_matches(number);
        let mark = if rest.len() == after.len() { "" } else { "<n>" };
        masked.extend([before, label, mark]);
    }
    masked.push_str(rest);
    masked
}

/// What has a name in this run, by its name.
fn named(text: &str, known: &[(String, String)]) -> String {
    let mut known: Vec<&(String, String)> = known.iter().filter(|(_, value)| !value.is_empty()).collect();
    known.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    let mut text = text.to_owned();
    for (name, value) in known {
        text = text.replace(value.as_str(), &format!("<{name}>"));
    }
    text
}

/// Times, ids and ports of clients.
fn generic(line: &str) -> String {
    let mut masked = String::with_capacity(line.len());
    let mut rest = line;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let found = match before.is_ascii_alphanumeric() || before == '.' {
            true => None,
            false => SHAPES
                .iter()
                .find_map(|(shape, name)| Some((shape(rest)?, *name))),
        };
        let (taken, text) = found.map_or((first.len_utf8(), None), |(taken, name)| (taken, Some(name)));
        match text {
            Some(name) => masked.push_str(name),
            None => masked.push(first),
        }
        let (done, left) = rest.split_at(taken);
        before = done.chars().last().unwrap_or(' ');
        rest = left;
    }
    masked
}

/// How many bytes at the start of a text have a shape that differs from run to run.
type Shape = fn(&str) -> Option<usize>;

const SHAPES: [(Shape, &str); 10] = [
    (|text| whole(text, "dddd-dd-dd dd:dd:dd,ddd"), "<time>"),
    (|text| whole(text, "dddd-dd-dd dd:dd:dd:ddd"), "<time>"),
    (|text| whole(text, "dddd-dd-dd dd:dd:dd"), "<time>"),
    (|text| whole(text, "20ddddddddddddddd"), "<time>"),
    (|text| whole(text, "20dddddddddddd"), "<time>"),
    (|text| whole(text, "1dddddddddddd"), "<ms>"),
    (|text| whole(text, "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"), "<id>"),
    // of a client whose address is one of IPv6
    (
        |text| whole(text, "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"),
        "<id>",
    ),
    (port, "127.0.0.1:<port>"),
    (duration, "<n>ms"),
];

/// `d` is a digit, `h` one of an id; anything else is itself. What follows is no letter or digit.
fn whole(text: &str, pattern: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let fits = pattern.bytes().enumerate().all(|(at, expected)| {
        bytes.get(at).is_some_and(|byte| match expected {
            b'd' => byte.is_ascii_digit(),
            b'h' => byte.is_ascii_digit() || (b'A'..=b'F').contains(byte),
            other => *byte == other,
        })
    });
    let is_over = bytes
        .get(pattern.len())
        .is_none_or(|next| !next.is_ascii_alphanumeric());
    (fits && is_over).then_some(pattern.len())
}

fn port(text: &str) -> Option<usize> {
    let host = "127.0.0.1:";
    let digits = text
        .strip_prefix(host)?
        .bytes()
        .take_while(u8::is_ascii_digit)
        .count();
    (digits == 5).then_some(host.len() + digits)
}

fn duration(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.get(digits..)?.strip_prefix("ms")?;
    let is_over = rest
        .bytes()
        .next()
        .is_none_or(|next| !next.is_ascii_alphanumeric());
    (digits > 0 && is_over).then_some(digits + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str, masks: &[Mask]) -> String {
        masked(line, &[], masks).join("\n")
    }

    #[test]
    fn times_ids_and_ports_are_masked_and_other_numbers_are_not() {
        let line = "7F000001053900000000000000000000 at 2024-02-29 10:11:12,345 (1709201472345) from 127.0.0.1:45678, 12 in 7ms";
        assert_eq!(
            one(line, &[]),
            "<id> at <time> (<ms>) from 127.0.0.1:<port>, 12 in <n>ms"
        );
        let others = "0.1709201472345 x7F000001053900000000000000000000 127.0.0.1:9876 17092014723450 7msx";
        assert_eq!(one(others, &[]), others);
    }

    #[test]
    fn what_a_run_knows_has_its_name() {
        let known = [("broker".to_owned(), "127.0.0.1:45678".to_owned())];
        assert_eq!(
            masked("to 127.0.0.1:45678, from 127.0.0.1:45679", &known, &[]),
            ["to <broker>, from 127.0.0.1:<port>"]
        );
    }

    #[test]
    fn a_step_masks_columns_labels_and_values() {
        assert_eq!(
            one("a  b  3.5\n#a b c\nshort", &[Mask::Columns(3, &[2])]),
            "a b <n>\n#a b c\nshort"
        );
        assert_eq!(
            one("TPS: 1.50E-4 TPS: x TPS: 2", &[Mask::After("TPS: ")]),
            "TPS: <n> TPS: x TPS: <n>"
        );
        assert_eq!(
            one("x bootTime  : now\nother: 1", &[Mask::Values(&["bootTime"])]),
            "x bootTime  <value>\nother: 1"
        );
        assert_eq!(one("a\nstack\nb", &[Mask::Cut("stack")]), "a\nstack");
    }
}
