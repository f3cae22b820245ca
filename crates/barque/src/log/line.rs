// SPDX-License-Identifier: Apache-2.0
//! What an event may be in a log: one line, of a bounded length. Events show what strangers send (names, addresses, remarks), and
//! the library that formats them neither escapes line breaks nor cuts a line: both are done here, for all places a log can go to.

use crate::cli::LogFormat;
use serde_json::Value;
use std::borrow::Cow;
use std::io::{self, Write};
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// A longer line of text is cut.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// In a longer line of JSON, which has to stay an object, texts beyond this are cut.
const VALUE_BYTES_MAX: usize = 1024;
const ESCAPE: u8 = 0x1b;

/// Gives events to another writer, one line each.
pub(super) struct OneLine<M> {
    pub(super) to: M,
    pub(super) format: LogFormat,
    /// Lines have colours.
    pub(super) ansi: bool,
}

/// The writer for one event.
pub(super) struct LineTo<W> {
    to: W,
    format: LogFormat,
    ansi: bool,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLine<M> {
    type Writer = LineTo<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        self.with(self.to.make_writer())
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        self.with(self.to.make_writer_for(event))
    }
}

impl<M> OneLine<M> {
    fn with<W>(&self, to: W) -> LineTo<W> {
        LineTo {
            to,
            format: self.format,
            ansi: self.ansi,
        }
    }
}

impl<W: Write> Write for LineTo<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = match self.format {
            LogFormat::Text => text(event, self.ansi),
            LogFormat::Json => json(event),
        };
        self.to.write_all(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether what is left begins with a byte that can be written. With colours an escape character can, where it begins a colour:
/// the library escapes those of messages, but not those of fields.
fn is_shown(left: &[u8], ansi: bool) -> bool {
    match left {
        [ESCAPE, b'[', rest @ ..] if ansi => {
            let end = rest.iter().find(|byte| !byte.is_ascii_digit() && **byte != b';');
            end == Some(&b'm')
        }
        [byte, ..] => !byte.is_ascii_control(),
        [] => true,
    }
}

/// One of the control characters U+0080 to U+009F, which break lines and move cursors as well.
fn is_c1(pair: &[u8]) -> bool {
    matches!(pair, [0xc2, 0x80..=0x9f])
}

fn text(event: &[u8], ansi: bool) -> Cow<'_, [u8]> {
    let body = event.strip_suffix(b"\n").unwrap_or(event);
    let is_plain = !body.iter().any(u8::is_ascii_control) && !body.windows(2).any(is_c1);
    if is_plain && body.len() <= LINE_BYTES_MAX {
        return Cow::Borrowed(event);
    }
    let mut line = Vec::with_capacity(body.len().min(LINE_BYTES_MAX) + 64);
    let mut left = body;
    while let Some((byte, rest)) = left.split_first() {
        // A character of several bytes stays whole.
        if line.len() >= LINE_BYTES_MAX && byte & 0xc0 != 0x80 {
            break;
        }
        if let Some((pair, rest)) = left.split_at_checked(2).filter(|(pair, _)| is_c1(pair)) {
            line.extend(pair.escape_ascii());
            left = rest;
            continue;
        }
        if is_shown(left, ansi) {
            line.push(*byte);
        } else {
            line.extend(byte.escape_ascii());
        }
        left = rest;
    }
    if !left.is_empty() {
        line.extend_from_slice(cut_note(left.len()).as_bytes());
        line.extend_from_slice(if ansi { b"\x1b[0m" } else { b"" });
    }
    line.push(b'\n');
    Cow::Owned(line)
}

fn cut_note(bytes: usize) -> String {
    format!("… ({bytes} bytes more)")
}

fn json(event: &[u8]) -> Cow<'_, [u8]> {
    if event.len() <= LINE_BYTES_MAX {
        return Cow::Borrowed(event);
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(event) else {
        return text(event, false);
    };
    for value in fields.values_mut() {
        if let Value::String(text) = value
            && text.len() > VALUE_BYTES_MAX
        {
            let end = text.floor_char_boundary(VALUE_BYTES_MAX);
            let more = text.len() - end;
            text.truncate(end);
            text.push_str(&cut_note(more));
        }
    }
    let mut line = Value::Object(fields).to_string().into_bytes();
    line.push(b'\n');
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::layer;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt as _;

    /// Each write as it came.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<String>>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .unwrap()
                .push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, ansi: bool, log: impl FnOnce()) -> Vec<String> {
        let writes = Writes::default();
        let to = writes.clone();
        let layer = layer(format, move || to.clone(), ansi);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        writes.0.lock().unwrap().clone()
    }

    #[test]
    fn whatever_a_stranger_sends_an_event_is_one_line() {
        let forged = "a\n2026-01-01T00:00:00Z  INFO forged\r\t\0\u{1b}[2K\u{85}";
        for ansi in [false, true] {
            let lines = logged(LogFormat::Text, ansi, || {
                tracing::info!(broker = %forged, "{forged}");
            });
            let [line] = lines.as_slice() else {
                panic!("{lines:?}")
            };
            let body = line.strip_suffix('\n').unwrap();
            assert_eq!(
                body.matches(r"a\n2026-01-01T00:00:00Z  INFO forged\r\t\x00\x1b[2K")
                    .count(),
                2
            );
            let colours = body.matches("\u{1b}[").count();
            assert_eq!(body.chars().filter(|char| char.is_control()).count(), colours);
            assert_eq!(colours > 0, ansi, "{body:?}");
        }
    }

    #[test]
    fn what_has_nothing_to_hide_stays_as_it_is() {
        let line = "INFO a line broker=Zürich …\n".as_bytes();
        assert!(matches!(text(line, false), Cow::Borrowed(same) if same == line));
        let coloured = "\u{1b}[1;32mINFO\u{1b}[0m a line\n".as_bytes();
        assert_eq!(text(coloured, true), coloured);
    }

    #[test]
    fn a_long_line_is_cut_and_one_of_json_stays_an_object() {
        let long = "ü".repeat(1 << 20);
        let log = || tracing::info!(broker = %long, addr = "10.0.0.1", "{long}");
        let lines = logged(LogFormat::Text, false, log);
        assert!(lines[0].len() < LINE_BYTES_MAX + 64, "{}", lines[0].len());
        assert!(lines[0].ends_with(" bytes more)\n"));

        let lines = logged(LogFormat::Json, false, log);
        assert!(lines[0].len() < LINE_BYTES_MAX, "{}", lines[0].len());
        let fields: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            (&fields["addr"], &fields["level"]),
            (&"10.0.0.1".into(), &"INFO".into())
        );
        assert!(fields["broker"].as_str().unwrap().starts_with("üü"));
    }
}
