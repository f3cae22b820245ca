// SPDX-License-Identifier: Apache-2.0
//! Reads a command line as the `DefaultParser` of commons-cli 1.5 does, quirks included: one-dash long names, `-t=x`, `-tx`,
//! `--topic=x`, joined flags, beginnings of long names that fit only one. What is on top of the reference (`--output` and
//! the like) is only looked at where the reference would not know a word.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::Opt;
use crate::failure::Failure;
use crate::nearest::nearest;

/// Why a command line cannot be read. The sentences are those of the reference.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseError {
    /// No option is called so.
    #[error("Unrecognized option: {0}")]
    Unknown(String),
    /// Several long names begin so.
    #[error("Ambiguous option: '{0}'  (could be: {1})")]
    Ambiguous(String, String),
    /// The value is missing.
    #[error("Missing argument for option: {0}")]
    NoValue(String),
    /// Options without which nothing is done.
    #[error("Missing required option{}: {}", if .0.len() == 1 { "" } else { "s" }, .0.join(", "))]
    Missing(Vec<String>),
    /// Two of which only one can hold.
    #[error("The option '{0}' was specified but an option from this group has already been selected: '{1}'")]
    Both(&'static str, &'static str),
    /// A value that no server would take.
    #[error("option {0}: {1}")]
    BadValue(&'static str, String),
    /// Of the options on top of the reference.
    #[error("{0}")]
    Extra(String),
}

impl ParseError {
    /// Whether the reference finds the same fault; it prints the usage then.
    pub fn is_of_the_reference(&self) -> bool {
        !matches!(self, ParseError::BadValue(..) | ParseError::Extra(_))
    }

    /// What was perhaps meant.
    pub fn hint(&self, options: &[&Opt]) -> Option<String> {
        let ParseError::Unknown(token) = self else {
            return None;
        };
        let name = token.trim_start_matches('-');
        let name = name.split_once('=').map_or(name, |(name, _)| name);
        let longs = options.iter().filter_map(|opt| opt.long);
        let known = nearest(name, longs.chain(EXTRA_NAMES))?;
        Some(format!("--{known}"))
    }
}

/// The long names of what is on top of the reference.
pub(crate) const EXTRA_NAMES: [&str; 3] = ["output", "watch", "yes"];

/// How data is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// As the reference does.
    #[default]
    Reference,
    /// Columns that fit their values.
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "table" => Ok(Format::Table),
            "json" => Ok(Format::Json),
            "yaml" => Ok(Format::Yaml),
            "text" => Ok(Format::Reference),
            other => Err(format!(
                "'{other}' is no output format; there are table, json, yaml and text"
            )),
        }
    }
}

/// What a command line says on top of the reference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// How data is printed.
    pub format: Format,
    /// Do not ask.
    pub yes: bool,
    /// Again and again.
    pub watch: Option<Duration>,
}

/// What was said to a command.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Args {
    found: Vec<(&'static Opt, Option<String>)>,
    /// Words that belong to no option. The reference passes over them.
    pub rest: Vec<String>,
    /// What is on top of the reference.
    pub extras: Extras,
}

impl Args {
    /// Whether an option was given, by its short or long name.
    pub fn has(&self, name: &str) -> bool {
        self.found.iter().any(|(opt, _)| opt.is(name))
    }

    /// The value of an option; of several the first, as in the reference.
    pub fn raw(&self, name: &str) -> Option<&str> {
        let mut values = self.found.iter().filter(|(opt, _)| opt.is(name));
        values.find_map(|(_, value)| value.as_deref())
    }

    /// The same without blanks around it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).map(str::trim)
    }

    /// The value of an option that the command cannot do without.
    pub fn need(&self, name: &str) -> Result<&str, Failure> {
        self.get(name)
            .ok_or_else(|| Failure::Usage(format!("Missing required option: {name}")))
    }

    /// The value as a number.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let parse = |text: &str| {
            // Java takes a sign in front.
            let digits = text.strip_prefix('+').unwrap_or(text);
            digits
                .parse()
                .map_err(|_| Failure::Usage(format!("option {name}: '{text}' is no number that fits")))
        };
        self.get(name).map(parse).transpose()
    }

    /// The value as Java reads a truth value: everything but `true` is false.
    pub fn truth(&self, name: &str) -> Option<bool> {
        self.get(name).map(|text| text.eq_ignore_ascii_case("true"))
    }
}

/// Reads a command line.
pub fn parse(options: &[&'static Opt], words: &[String]) -> Result<Args, ParseError> {
    let mut parser = Parser {
        options,
        args: Args::default(),
        expects: None,
        expects_extra: None,
        only_words: false,
    };
    for word in words {
        parser.word(word)?;
    }
    // Whoever asks for help need not say the rest.
    if parser.args.has("h") {
        return Ok(parser.args);
    }
    if let Some(opt) = parser.expects {
        return Err(ParseError::NoValue(opt.key().to_owned()));
    }
    if let Some(name) = parser.expects_extra {
        return Err(ParseError::NoValue(name.to_owned()));
    }
    parser.complete()?;
    for (opt, value) in &parser.args.found {
        opt.verify(value.as_deref().unwrap_or_default())?;
    }
    Ok(parser.args)
}

struct Parser<'a> {
    options: &'a [&'static Opt],
    args: Args,
    /// The option whose value comes next.
    expects: Option<&'static Opt>,
    /// The same of one on top of the reference.
    expects_extra: Option<&'static str>,
    /// After `--`.
    only_words: bool,
}

impl Parser<'_> {
    fn word(&mut self, word: &str) -> Result<(), ParseError> {
        if let Some(name) = self.expects_extra.take() {
            return self.extra(name, word);
        }
        if self.only_words {
            self.args.rest.push(word.to_owned());
            return Ok(());
        }
        if word == "--" {
            self.only_words = true;
            return Ok(());
        }
        if self.expects.is_some() && self.is_value(word) {
            self.value(without_quotes(word));
            return Ok(());
        }
        if let Some(rest) = word.strip_prefix("--") {
            return match rest.split_once('=') {
                None => self.long(word, rest),
                Some((name, value)) => self.long_with_value(word, name, value),
            };
        }
        match word.strip_prefix('-') {
            Some(rest) if !rest.is_empty() => self.dashed(word, rest),
            _ => self.unknown(word),
        }
    }

    /// `-x…`: a short name, a long one, a short one with its value, or several flags.
    fn dashed(&mut self, word: &str, rest: &str) -> Result<(), ParseError> {
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        if rest.chars().count() == 1 {
            return match self.short(rest) {
                Some(opt) => self.found(opt),
                None => self.unknown(word),
            };
        }
        if let Some((name, value)) = rest.split_once('=') {
            if name.chars().count() != 1 {
                return self.long_with_value(word, name, value);
            }
            return match self.named(name).filter(|opt| opt.takes_value) {
                Some(opt) => {
                    self.found(opt)?;
                    self.value(value);
                    Ok(())
                }
                None => self.unknown(word),
            };
        }
        if let Some(opt) = self.short(rest) {
            return self.found(opt);
        }
        if !self.beginning_with(rest).is_empty() {
            return self.long(word, rest);
        }
        match self.long_prefix(rest) {
            Some((opt, value)) if opt.takes_value => {
                self.found(opt)?;
                self.value(value);
                Ok(())
            }
            _ => self.joined(word, rest),
        }
    }

    /// `-abvalue`
    fn joined(&mut self, word: &str, rest: &str) -> Result<(), ParseError> {
        for (at, letter) in rest.char_indices() {
            let tail = rest.get(at + letter.len_utf8()..).unwrap_or_default();
            let Some(opt) = self.named(&letter.to_string()) else {
                return self.unknown(word);
            };
            self.found(opt)?;
            if opt.takes_value && !tail.is_empty() {
                self.value(tail);
                break;
            }
        }
        Ok(())
    }

    fn long(&mut self, word: &str, name: &str) -> Result<(), ParseError> {
        match self.by_beginning(name)? {
            Some(opt) => self.found(opt),
            None => self.unknown(word),
        }
    }

    fn long_with_value(&mut self, word: &str, name: &str, value: &str) -> Result<(), ParseError> {
        match self.by_beginning(name)? {
            Some(opt) if opt.takes_value => {
                self.found(opt)?;
                self.value(value);
                Ok(())
            }
            _ => self.unknown(word),
        }
    }

    /// The option whose long name this is, or the only one whose long name begins so.
    fn by_beginning(&self, name: &str) -> Result<Option<&'static Opt>, ParseError> {
        let fits = self.beginning_with(name);
        if fits.len() > 1 {
            let names: Vec<String> = fits
                .iter()
                .map(|opt| format!("'{}'", opt.long.unwrap_or_default()))
                .collect();
            return Err(ParseError::Ambiguous(format!("--{name}"), names.join(", ")));
        }
        Ok(fits.first().copied())
    }

    fn found(&mut self, opt: &'static Opt) -> Result<(), ParseError> {
        if let Some(waiting) = self.expects {
            return Err(ParseError::NoValue(waiting.key().to_owned()));
        }
        let rival = |(known, _): &&(&'static Opt, _)| known.one_of == opt.one_of && known.key() != opt.key();
        if opt.one_of.is_some()
            && let Some((known, _)) = self.args.found.iter().find(rival)
        {
            return Err(ParseError::Both(opt.key(), known.key()));
        }
        self.args.found.push((opt, None));
        self.expects = opt.takes_value.then_some(opt);
        Ok(())
    }

    fn value(&mut self, value: &str) {
        self.expects = None;
        if let Some((_, slot)) = self.args.found.last_mut() {
            *slot = Some(value.to_owned());
        }
    }

    fn unknown(&mut self, word: &str) -> Result<(), ParseError> {
        if !word.starts_with('-') || word.len() == 1 {
            self.args.rest.push(word.to_owned());
            return Ok(());
        }
        let (name, value) = word
            .split_once('=')
            .map_or((word, None), |(name, value)| (name, Some(value)));
        let name = match name {
            "--output" | "-o" => "output",
            "--watch" => "watch",
            "--yes" if value.is_none() => {
                self.args.extras.yes = true;
                return Ok(());
            }
            _ => return Err(ParseError::Unknown(word.to_owned())),
        };
        match value {
            Some(value) => self.extra(name, value)?,
            None => self.expects_extra = Some(name),
        }
        Ok(())
    }

    fn extra(&mut self, name: &str, value: &str) -> Result<(), ParseError> {
        let extras = &mut self.args.extras;
        if name == "output" {
            extras.format = value.parse().map_err(ParseError::Extra)?;
            return Ok(());
        }
        let seconds = value.parse::<f64>().ok();
        let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let span = span.filter(|span| *span >= Duration::from_millis(100));
        let wrong = || ParseError::Extra(format!("'{value}' is no number of seconds from 0.1 on"));
        extras.watch = Some(span.ok_or_else(wrong)?);
        Ok(())
    }

    /// Whether a word can be the value of the option before it.
    fn is_value(&self, word: &str) -> bool {
        !self.is_option(word) || word.parse::<f64>().is_ok()
    }

    fn is_option(&self, word: &str) -> bool {
        let Some(rest) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            return false;
        };
        let name = rest.split_once('=').map_or(rest, |(name, _)| name);
        let long = name.strip_prefix('-').unwrap_or(name);
        if !self.beginning_with(long).is_empty() {
            return true;
        }
        if !word.starts_with("--") && self.long_prefix(rest).is_some() {
            return true;
        }
        let first: String = name.chars().take(1).collect();
        self.short(name).is_some() || self.short(&first).is_some()
    }

    fn short(&self, name: &str) -> Option<&'static Opt> {
        // An option without a short name is kept under its long one.
        self.options.iter().find(|opt| opt.key() == name).copied()
    }

    fn named(&self, name: &str) -> Option<&'static Opt> {
        let long = || self.options.iter().find(|opt| opt.long == Some(name)).copied();
        self.short(name).or_else(long)
    }

    /// The option with this long name, else all whose long name begins so.
    fn beginning_with(&self, name: &str) -> Vec<&'static Opt> {
        if let Some(exact) = self.options.iter().find(|opt| opt.long == Some(name)) {
            return vec![exact];
        }
        let fits = |opt: &&&'static Opt| opt.long.is_some_and(|long| long.starts_with(name));
        self.options.iter().filter(fits).copied().collect()
    }

    /// `-clusterNameDefault`: a long name with its value behind it. Names of one or two letters do not count.
    fn long_prefix<'w>(&self, rest: &'w str) -> Option<(&'static Opt, &'w str)> {
        let ends = rest.char_indices().map(|(at, _)| at).rev().skip(1);
        ends.take_while(|end| *end > 1).find_map(|end| {
            let (name, value) = rest.split_at_checked(end)?;
            let opt = self.options.iter().find(|opt| opt.long == Some(name))?;
            Some((*opt, value))
        })
    }

    /// Everything that must be there is there.
    fn complete(&self) -> Result<(), ParseError> {
        let mut missing: Vec<String> = Vec::new();
        let mut groups = Vec::new();
        for opt in self.options {
            if let Some(group) = opt.one_of {
                if groups.contains(&group) {
                    continue;
                }
                groups.push(group);
                let members = || self.options.iter().filter(|opt| opt.one_of == Some(group));
                if !members().any(|opt| self.args.has(opt.key())) {
                    let shown: Vec<String> = members().map(|opt| Member(opt).to_string()).collect();
                    missing.push(format!("[{}]", shown.join(", ")));
                }
            } else if opt.required && !self.args.has(opt.key()) {
                missing.push(opt.key().to_owned());
            }
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(ParseError::Missing(missing))
        }
    }
}

/// An option of a group, in the sentence that says that one of them is missing.
struct Member<'a>(&'a Opt);

impl fmt::Display for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.short {
            Some(short) => write!(f, "-{short} {}", self.0.about),
            None => write!(f, "--{} {}", self.0.key(), self.0.about),
        }
    }
}

/// The shell may have left quotes around a value.
fn without_quotes(word: &str) -> &str {
    let bare = word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    bare.filter(|bare| !bare.contains('"')).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{COMMON, flag, long_value, value};

    static OPTIONS: [Opt; 10] = [
        COMMON[0],
        COMMON[1],
        value("b", "brokerAddr", "one broker").one_of(1),
        value("c", "clusterName", "a cluster").one_of(1),
        value("t", "topic", "topic name").required(),
        flag("l", "list", "as list"),
        value("bn", "brokerName", "a name"),
        long_value("attributes", "attributes"),
        value("m", "machine room", "room"),
        flag("a", "all", "all of them"),
    ];

    fn read(line: &str) -> Result<Args, ParseError> {
        let options: Vec<&'static Opt> = OPTIONS.iter().collect();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        parse(&options, &words)
    }

    /// What commons-cli 1.5 made of command lines put together at random: the line, a tab, and options with their values
    /// or the error.
    const RECORDED: &str = include_str!("parse/recorded.txt");

    #[test]
    fn lines_are_read_as_the_parser_of_the_reference_reads_them() {
        for record in RECORDED.lines() {
            let (line, expected) = record.split_once('\t').unwrap();
            assert_eq!(shown(line), expected, "{line}");
        }
    }

    fn shown(line: &str) -> String {
        let args = match read(line) {
            Ok(args) => args,
            Err(error) => return format!("! {error}"),
        };
        let mut shown = Vec::new();
        for name in ["n", "b", "c", "t", "l", "bn", "attributes", "m", "a"] {
            match args.raw(name) {
                Some(value) => shown.push(format!("{name}={value}")),
                None if args.has(name) => shown.push(name.to_owned()),
                None => {}
            }
        }
        shown.extend(args.rest.iter().map(|word| format!("({word})")));
        shown.join(" ")
    }

    #[test]
    fn what_is_on_top_of_the_reference_does_not_hide_what_it_has() {
        let args = read("-b B -t T -o json --watch 2 --yes").unwrap();
        assert_eq!(args.extras.format, Format::Json);
        assert_eq!(args.extras.watch, Some(Duration::from_secs(2)));
        assert!(args.extras.yes && args.rest.is_empty());
        let args = read("-b B -t T --output=table").unwrap();
        assert_eq!(args.extras.format, Format::Table);
        // Values of options of the reference, whatever they look like.
        assert_eq!(read("-b B -t --output").unwrap().get("t"), Some("--output"));
        for wrong in [
            "-o xml",
            "--watch",
            "--watch 0",
            "--watch -1",
            "--yes=1",
            "--outpu json",
        ] {
            assert!(read(&format!("-b B -t T {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_option_finds_the_one_that_was_meant() {
        let options: Vec<&'static Opt> = OPTIONS.iter().collect();
        let hint = |line: &str| read(line).unwrap_err().hint(&options);
        assert_eq!(hint("--clustername x").as_deref(), Some("--clusterName"));
        assert_eq!(hint("--outptu x").as_deref(), Some("--output"));
        assert_eq!(hint("--frobnicate"), None);
    }
}
