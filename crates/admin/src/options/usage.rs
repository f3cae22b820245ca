// SPDX-License-Identifier: Apache-2.0
//! The usage of a command, laid out as the `HelpFormatter` of commons-cli 1.5 does in 110 columns.

use super::Opt;

/// Columns of a line.
const WIDTH: usize = 110;
/// Blanks between an option and what is said about it.
const GAP: usize = 3;

/// An option and what is said about it.
pub struct Line {
    /// ` -t,--topic <arg>`
    pub option: String,
    /// What it is for.
    pub about: String,
}

/// The usage of a program with these options.
pub fn render(program: &str, options: &[&'static Opt]) -> String {
    let mut sorted = options.to_vec();
    sorted.sort_by_key(|opt| opt.key().to_ascii_lowercase());
    let synopsis = synopsis(program, &sorted);
    let mut out = String::new();
    let indent = synopsis.find(' ').map_or(0, |at| at + 1);
    wrap(&mut out, indent, &synopsis);
    out.push('\n');
    let lines: Vec<Line> = sorted.iter().map(|opt| line(opt)).collect();
    let widest = lines.iter().map(|line| line.option.len()).max().unwrap_or(0);
    for line in lines {
        let text = format!(
            "{:widest$}{:GAP$}{}",
            line.option,
            "",
            line.about,
            widest = widest,
            GAP = GAP
        );
        wrap(&mut out, widest + GAP, &text);
        out.push('\n');
    }
    out
}

fn synopsis(program: &str, sorted: &[&'static Opt]) -> String {
    let mut text = format!("usage: {program} ");
    let mut groups = Vec::new();
    for (index, opt) in sorted.iter().enumerate() {
        match opt.one_of {
            // Of a group that is there already only the blank remains.
            Some(group) if groups.contains(&group) => {}
            Some(group) => {
                groups.push(group);
                let members = sorted.iter().filter(|opt| opt.one_of == Some(group));
                let shown: Vec<String> = members.map(|opt| bare(opt)).collect();
                text.push_str(&shown.join(" | "));
            }
            None if opt.required => text.push_str(&bare(opt)),
            None => text.push_str(&format!("[{}]", bare(opt))),
        }
        if index + 1 < sorted.len() {
            text.push(' ');
        }
    }
    text
}

fn bare(opt: &Opt) -> String {
    let dashes = if opt.short.is_some() { "-" } else { "--" };
    let value = if opt.takes_value { " <arg>" } else { "" };
    format!("{dashes}{}{value}", opt.key())
}

fn line(opt: &Opt) -> Line {
    let mut option = match (opt.short, opt.long) {
        (Some(short), Some(long)) => format!(" -{short},--{long}"),
        (Some(short), None) => format!(" -{short}"),
        (None, long) => format!("    --{}", long.unwrap_or_default()),
    };
    if opt.takes_value {
        option.push_str(" <arg>");
    }
    Line {
        option,
        about: opt.about.to_owned(),
    }
}

/// Appends a text, broken at blanks; further lines are indented.
fn wrap(out: &mut String, indent: usize, text: &str) {
    let Some(mut at) = break_at(text) else {
        out.push_str(text.trim_end());
        return;
    };
    out.push_str(text.get(..at).unwrap_or(text).trim_end());
    out.push('\n');
    let indent = if indent >= WIDTH { 1 } else { indent };
    let mut text = text.to_owned();
    loop {
        text = format!("{:indent$}{}", "", text.get(at..).unwrap_or_default().trim());
        let Some(next) = break_at(&text) else {
            out.push_str(&text);
            return;
        };
        // A word that is longer than a line is cut.
        at = if text.len() > WIDTH && next + 1 == indent {
            WIDTH
        } else {
            next
        };
        out.push_str(text.get(..at).unwrap_or(&text).trim_end());
        out.push('\n');
    }
}

/// Where a text must be broken, if it must.
fn break_at(text: &str) -> Option<usize> {
    if let Some(at) = text.find(['\n', '\t']).filter(|at| *at <= WIDTH) {
        return Some(at + 1);
    }
    if text.len() <= WIDTH {
        return None;
    }
    let head = text.get(..=WIDTH).unwrap_or(text);
    let blank = head.rfind([' ', '\n', '\r']).filter(|at| *at > 0);
    Some(blank.unwrap_or(WIDTH))
}
