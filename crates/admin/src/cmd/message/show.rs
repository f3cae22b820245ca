// SPDX-License-Identifier: Apache-2.0
//! A message in full, one line for each thing there is to know, and its body in a file.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::track::{self, Track};
use crate::charset::Charset;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::message::{Message, or_null};
use crate::text::{host, time};

/// How much is said, and how.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    /// Begins with the id of its place. The body is printed too, where its encoding is known.
    WithPlace(Option<Charset>),
    /// Without it. Bodies of further messages with the same id have files of their own, by their number.
    Numbered(usize),
}

/// A message, and what became of it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    message: &'a Message,
    tracks: &'a [Track],
}

/// Shows a message.
pub(super) async fn show(ctx: &Ctx, message: &Message, style: Style) -> Result<(), Failure> {
    if ctx.is_reference() {
        let path = save_body(ctx, message, style)?;
        ctx.say(text(message, style, &path));
    }
    // The message is what was asked for: it is shown even if its readers cannot be learnt.
    let tracks = match track::tracks(ctx, message).await {
        Ok(tracks) => tracks,
        Err(failure) => {
            ctx.warn(format_args!("what became of the message is not known: {failure}"));
            if !ctx.is_reference() {
                ctx.row(&Shown { message, tracks: &[] }, String::new);
            }
            return Ok(());
        }
    };
    let shown = Shown {
        message,
        tracks: &tracks,
    };
    ctx.row(&shown, || tracks_text(&tracks, style));
    Ok(())
}

fn tracks_text(tracks: &[Track], style: Style) -> String {
    if tracks.is_empty() {
        return "\n\nWARN: No Consumer".to_owned();
    }
    let end = match style {
        Style::WithPlace(_) => "\n",
        Style::Numbered(_) => "",
    };
    let lines: Vec<String> = tracks.iter().map(|track| format!("{track}{end}")).collect();
    format!("\n\n{}", lines.concat())
}

fn text(message: &Message, style: Style, body: &Path) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| out.push_str(&format!("{name:<20} {value}\n"));
    if let Style::WithPlace(_) = style {
        line("OffsetID:", or_null(message.offset_id.as_deref()));
    }
    line("Topic:", &message.topic);
    line("Tags:", &format!("[{}]", or_null(message.tags())));
    line("Keys:", &format!("[{}]", or_null(message.keys())));
    line("Queue ID:", &message.queue.to_string());
    line("Queue Offset:", &message.offset.to_string());
    line("CommitLog Offset:", &message.log_offset.to_string());
    line("Reconsume Times:", &message.reconsume_times.to_string());
    line("Born Timestamp:", &time(message.born_at));
    line("Store Timestamp:", &time(message.stored_at));
    line("Born Host:", &message.born_host.map(host).unwrap_or_default());
    line("Store Host:", &message.store_host.map(host).unwrap_or_default());
    line("System Flag:", &message.sys_flag.to_string());
    line("Properties:", &message.properties.display().unwrap_or_default());
    line("Message Body Path:", &body.display().to_string());
    if let Style::WithPlace(Some(charset)) = style {
        line(
            "Message Body:",
            &charset.read(message.body.as_deref().unwrap_or_default()),
        );
    }
    out
}

/// Where the reference puts bodies.
const BODIES: &str = "/tmp/rocketmq/msgbodys";

/// Writes the body to its file.
fn save_body(ctx: &Ctx, message: &Message, style: Style) -> Result<PathBuf, Failure> {
    // The id comes from whoever sent the message; it must not name a file elsewhere.
    let plain = |id: &&str| id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let id = message.id().filter(plain).or(message.offset_id.as_deref());
    let mut name = id.unwrap_or("message").to_owned();
    if let Style::Numbered(number) = style
        && number > 0
    {
        name.push_str(&format!("_{number}"));
    }
    let path = Path::new(BODIES).join(name);
    let write = || -> io::Result<()> {
        let disk = &ctx.env.disk;
        disk.make_dirs(Path::new(BODIES))?;
        let body = message.body.as_deref().unwrap_or_default();
        disk.create(&path, 0)?.write_at(body, 0)
    };
    write().map_err(|error| {
        Failure::Other(format!(
            "the body cannot be written to {}: {error}; --output json prints it instead",
            path.display()
        ))
    })?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_shown_line_by_line() {
        let message = Message {
            topic: "T".into(),
            offset_id: Some("7F".into()),
            queue: 2,
            born_host: "127.0.0.1:9".parse().ok(),
            ..Message::default()
        };
        let text = text(&message, Style::WithPlace(None), Path::new("/tmp/x"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "OffsetID:            7F");
        assert_eq!(lines[2], "Tags:                [null]");
        assert_eq!(lines[10], "Born Host:           127.0.0.1:9");
        assert_eq!(lines[13], "Properties:          ");
        assert_eq!(lines.len(), 15);
        assert_eq!(tracks_text(&[], Style::Numbered(0)), "\n\nWARN: No Consumer");
    }
}
