// SPDX-License-Identifier: Apache-2.0
//! One command line, and what may differ in what it prints. Words like `$broker` or `$id.n0` stand for what only a run
//! knows.

use super::mask::Mask;

/// A tool and a server, as far as a deliberate difference goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Differs {
    /// barque answers otherwise, whoever asks.
    Server,
    /// barque refuses with the same code, in other words.
    Words,
    /// Our tool says it otherwise, whoever answers.
    Tool,
}

/// Which lines `key : value` are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// All.
    All,
    /// Those of the reference; there may be more.
    Reference,
    /// Those that both sides have.
    Both,
}

/// A command line.
pub(crate) struct Step {
    pub(crate) args: Vec<String>,
    /// It is repeated until it prints this.
    pub(crate) until: Option<&'static str>,
    /// It never ends: it is stopped after so many lines.
    pub(crate) lines: Option<usize>,
    pub(crate) seconds: u64,
    pub(crate) is_sorted: bool,
    pub(crate) keys: Keys,
    pub(crate) masks: Vec<Mask>,
    /// What it writes, below the directory of the run; compared too.
    pub(crate) files: Vec<&'static str>,
    pub(crate) differs: Vec<Difference>,
}

/// A difference on purpose.
pub(crate) struct Difference {
    pub(crate) of: Differs,
    pub(crate) why: &'static str,
    /// What it looks like: a text that is printed then, to stdout or as a complaint; an empty one is a command that goes well and prints
    /// nothing. Something else is not the difference that was meant.
    pub(crate) shows: &'static str,
}

/// A command with a name server; quotes keep words together: `sendMessage -t T -p 'a body'`.
pub(crate) fn step(line: &str) -> Step {
    let mut step = bare(line);
    step.args.extend(["-n".to_owned(), "$namesrv".to_owned()]);
    step
}

/// A command line as it stands.
pub(crate) fn bare(line: &str) -> Step {
    Step {
        args: words(line),
        until: None,
        lines: None,
        seconds: 20,
        is_sorted: false,
        keys: Keys::All,
        masks: Vec::new(),
        files: Vec::new(),
        differs: Vec::new(),
    }
}

impl Step {
    /// The command: what follows `help` there.
    pub(crate) fn command(&self) -> &str {
        match self.args.as_slice() {
            [help, command, ..] if help == "help" => command,
            [command, ..] => command,
            [] => "",
        }
    }

    /// As one would type it.
    pub(crate) fn told(&self) -> String {
        let told: Vec<String> = self
            .args
            .iter()
            .map(|word| match word.contains([' ', '"']) || word.is_empty() {
                true => format!("'{word}'"),
                false => word.clone(),
            })
            .collect();
        format!("mqadmin {}", told.join(" "))
    }

    /// Repeats it until it prints this: what it asks about is still coming.
    #[must_use]
    pub(crate) fn until(mut self, text: &'static str) -> Step {
        self.until = Some(text);
        self
    }

    /// It never ends by itself.
    #[must_use]
    pub(crate) fn stopped_after(mut self, lines: usize) -> Step {
        self.lines = Some(lines);
        self
    }

    /// Lines come in the order of a hash map of the reference, which means nothing; `_why` says which.
    #[must_use]
    pub(crate) fn sorted(mut self, _why: &str) -> Step {
        self.is_sorted = true;
        self
    }

    /// Each side prints settings of its own; those that both have must have the same values.
    #[must_use]
    pub(crate) fn keys_of_both(mut self) -> Step {
        self.keys = Keys::Both;
        self
    }

    /// barque prints figures of its own too.
    #[must_use]
    pub(crate) fn keys_of_reference(mut self) -> Step {
        self.keys = Keys::Reference;
        self
    }

    /// The number behind a label is made by the machine.
    #[must_use]
    pub(crate) fn number_after(mut self, label: &'static str) -> Step {
        self.masks.push(Mask::After(label));
        self
    }

    /// In lines of so many words these are made by the machine; headings start with `#`.
    #[must_use]
    pub(crate) fn columns(mut self, of: usize, which: &'static [usize]) -> Step {
        self.masks.push(Mask::Columns(of, which));
        self
    }

    /// It is stopped after so long at the latest.
    #[must_use]
    pub(crate) fn seconds(mut self, seconds: u64) -> Step {
        self.seconds = seconds;
        self
    }

    /// What follows this line is not compared.
    #[must_use]
    pub(crate) fn cut_after(mut self, text: &'static str) -> Step {
        self.masks.push(Mask::Cut(text));
        self
    }

    /// The value in lines `key : value` or `key = value` whose key is one of these is made by the machine.
    #[must_use]
    pub(crate) fn values_of(mut self, keys: &'static [&'static str]) -> Step {
        self.masks.push(Mask::Values(keys));
        self
    }

    /// It writes this file, which is compared too.
    #[must_use]
    pub(crate) fn file(mut self, path: &'static str) -> Step {
        self.files.push(path);
        self
    }

    /// barque answers otherwise, on purpose, and this is seen then.
    #[must_use]
    pub(crate) fn ours(self, why: &'static str, shows: &'static str) -> Step {
        self.differing(Differs::Server, why, shows)
    }

    /// barque refuses with the same code, in other words: a remark is for people.
    #[must_use]
    pub(crate) fn remark(self, why: &'static str) -> Step {
        self.differing(Differs::Words, why, "DESC: ")
    }

    /// Our tool says it otherwise, on purpose, and this is seen then.
    #[must_use]
    pub(crate) fn our_tool(self, why: &'static str, shows: &'static str) -> Step {
        self.differing(Differs::Tool, why, shows)
    }

    fn differing(mut self, of: Differs, why: &'static str, shows: &'static str) -> Step {
        self.differs.push(Difference { of, why, shows });
        self
    }
}

/// The words of a command line.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '\'' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            ' ' if !is_quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// A word with what it stands for.
pub(crate) fn filled(word: &str, known: &[(String, String)]) -> String {
    let mut filled = word.to_owned();
    // Longer names first: `$id.n1` begins `$id.n10`.
    let mut known: Vec<&(String, String)> = known.iter().collect();
    known.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, value) in known {
        filled = filled.replace(&format!("${name}"), value);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(words("a -p 'b  c' '' d'e'"), ["a", "-p", "b  c", "", "de"]);
    }

    #[test]
    fn the_longest_name_is_the_one_that_is_meant() {
        let known = [
            ("id.n1".to_owned(), "A".to_owned()),
            ("id.n10".to_owned(), "B".to_owned()),
        ];
        assert_eq!(filled("$id.n10,$id.n1", &known), "B,A");
    }
}
