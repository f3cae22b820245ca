// SPDX-License-Identifier: Apache-2.0
//! Reads the files that callgrind writes. It says what each function did by itself and how often it called others; a name
//! stands there once, with a number, and by that number from then on.

use crate::cost::Cost;
use anyhow::{Context as _, ensure};
use std::collections::HashMap;

/// What gives memory. Those call none of each other: what they share has other names.
const ALLOCATORS: [&str; 6] = [
    "malloc",
    "calloc",
    "realloc",
    "aligned_alloc",
    "posix_memalign",
    "memalign",
];

/// System calls that say nothing about the path of a message. A look at the clock is one only where valgrind runs the
/// program; it waits when all is read, and for every timer, of which a slow machine sees more for each message.
const LEFT_OUT: [&str; 2] = ["clock_gettime", "epoll_wait"];

/// What one thread did between two marks.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) functions: HashMap<String, Function>,
    allocations: u64,
}

/// What a function did by itself.
#[derive(Debug, Default)]
pub(crate) struct Function {
    pub(crate) instructions: u64,
    /// The same by source file: what was inlined comes from others.
    pub(crate) files: HashMap<String, u64>,
    system_calls: u64,
    /// It is of the program, not of a library.
    is_ours: bool,
}

impl Counts {
    /// Of all functions.
    pub(crate) fn instructions(&self) -> u64 {
        self.functions.values().map(|f| f.instructions).sum()
    }

    /// Of one message.
    pub(crate) fn cost(&self, messages: usize) -> Cost {
        let instructions = |is_ours: bool| -> u64 {
            let side = self.functions.values().filter(|f| f.is_ours == is_ours);
            side.map(|f| f.instructions).sum()
        };
        let calling = self
            .functions
            .iter()
            .filter(|(name, _)| !LEFT_OUT.contains(&plain(name)));
        let system_calls: u64 = calling.map(|(_, f)| f.system_calls).sum();
        [
            instructions(true),
            instructions(false),
            self.allocations,
            system_calls,
        ]
        .map(|count| count as f64 / messages as f64)
    }
}

/// A name without the version of a library and without the depth of a recursion.
fn plain(name: &str) -> &str {
    name.split(['@', '\'']).next().unwrap_or(name)
}

/// Where in the file the reader is.
#[derive(Default)]
struct Reader<'a> {
    counts: Counts,
    names: HashMap<(&'static str, &'a str), &'a str>,
    object: &'a str,
    file: &'a str,
    function: &'a str,
    called: &'a str,
    /// Columns of the events `Ir` and `sysCount`.
    columns: (usize, Option<usize>),
    /// The next line is the cost of a call, which is in the called function already.
    is_call: bool,
    total: Option<u64>,
}

/// Reads one file; `program` is the path of the program that was run.
pub(crate) fn read(text: &str, program: &str) -> anyhow::Result<Counts> {
    let mut reader = Reader::default();
    for (at, line) in text.lines().enumerate() {
        reader
            .line(line, program)
            .with_context(|| format!("line {} of callgrind's file: {line}", at + 1))?;
    }
    let (counted, total) = (reader.counts.instructions(), reader.total);
    ensure!(
        total == Some(counted),
        "callgrind's file says {total:?} instructions and holds {counted}"
    );
    Ok(reader.counts)
}

/// The file without calls that had begun before: callgrind counts them as none, and callgrind_annotate stumbles over that.
pub(crate) fn without_open_calls(text: &str) -> String {
    let mut lines = text.lines();
    let mut kept = String::with_capacity(text.len());
    while let Some(line) = lines.next() {
        if line.starts_with("calls=0 ") {
            // Its cost.
            lines.next();
        } else {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: &'a str, program: &str) -> anyhow::Result<()> {
        if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            return self.cost(line, program);
        }
        if let Some((key, value)) = line.split_once(": ") {
            return self.heading(key, value);
        }
        match line.split_once('=') {
            Some(("ob", value)) => self.object = self.name("object", value)?,
            Some(("fl" | "fi" | "fe", value)) => self.file = self.name("file", value)?,
            Some(("fn", value)) => self.function = self.name("function", value)?,
            Some(("cfn", value)) => self.called = self.name("function", value)?,
            // Only to learn the names.
            Some(("cob", value)) => drop(self.name("object", value)?),
            Some(("cfi" | "cfl", value)) => drop(self.name("file", value)?),
            Some(("calls", value)) => {
                let count: u64 = first(value).parse()?;
                if ALLOCATORS.contains(&plain(self.called)) {
                    self.counts.allocations += count;
                }
                self.is_call = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn heading(&mut self, key: &str, value: &str) -> anyhow::Result<()> {
        let column = |event| value.split(' ').position(|name| name == event);
        match key {
            "events" => self.columns = (column("Ir").context("no instructions")?, column("sysCount")),
            "totals" => {
                let total = value.split(' ').nth(self.columns.0);
                self.total = Some(total.unwrap_or("0").parse()?);
            }
            _ => {}
        }
        Ok(())
    }

    /// `(12) name` where it is told, `(12)` later.
    fn name(&mut self, kind: &'static str, value: &'a str) -> anyhow::Result<&'a str> {
        let (number, name) = value.split_once(')').context("a name without a number")?;
        match name.trim_start() {
            "" => {
                let known = self.names.get(&(kind, number));
                known.copied().context("a number without a name")
            }
            name => {
                self.names.insert((kind, number), name);
                Ok(name)
            }
        }
    }

    /// A place in the source, then a figure for each event; those at the end may be missing.
    fn cost(&mut self, line: &str, program: &str) -> anyhow::Result<()> {
        if std::mem::take(&mut self.is_call) {
            return Ok(());
        }
        let figures: Vec<u64> = line
            .split(' ')
            .skip(1)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let of = |column: usize| figures.get(column).copied().unwrap_or(0);
        let instructions = of(self.columns.0);
        let function = self.counts.functions.entry(self.function.to_owned());
        let function = function.or_default();
        function.is_ours = self.object == program;
        function.instructions += instructions;
        function.system_calls += self.columns.1.map_or(0, of);
        *function.files.entry(self.file.to_owned()).or_default() += instructions;
        Ok(())
    }
}

fn first(value: &str) -> &str {
    value.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As callgrind writes it: two functions of ours, three of the C library.
    const FILE: &str = "\
# callgrind format
version: 1
events: Ir sysCount sysTime

ob=(1) /x/guard
fl=(1) send.rs
fn=(1) broker::send
10 100
+2 40
fi=(2) inlined.rs
7 5
fe=(1)
cob=(2) /lib/libc.so.6
cfi=(3) malloc.c
cfn=(2) malloc
calls=8 30
+1 800
cob=(2)
cfi=(3)
cfn=(3) realloc'2
calls=2 31
* 60
cfn=(4) free
calls=10 31
* 60

ob=(2)
fl=(3)
fn=(2)
30 800
fn=(3)
31 60

fn=(5) clock_gettime@@GLIBC_2.17
1 5 4 100
fn=(7) epoll_wait
1 5 3
fn=(6) pwrite
1 10 2 90

ob=(1)
fl=(1)
fn=(1)
12 5
totals: 1030 9 190
";

    #[test]
    fn instructions_are_told_apart_by_whose_they_are() {
        let counts = read(FILE, "/x/guard").unwrap();
        assert_eq!(counts.instructions(), 1030);
        let [ours, libc, ..] = counts.cost(10);
        assert_eq!([ours, libc], [15.0, 88.0]);
    }

    #[test]
    fn what_was_inlined_counts_for_the_function_and_for_its_own_file() {
        let counts = read(FILE, "/x/guard").unwrap();
        let send = &counts.functions["broker::send"];
        assert_eq!(send.instructions, 150);
        assert_eq!((send.files["send.rs"], send.files["inlined.rs"]), (145, 5));
    }

    #[test]
    fn allocations_are_the_calls_that_give_memory() {
        let [.., allocations, _] = read(FILE, "/x/guard").unwrap().cost(10);
        assert_eq!(allocations, 1.0);
    }

    #[test]
    fn looks_at_the_clock_and_waits_are_not_among_the_system_calls() {
        let [.., calls] = read(FILE, "/x/guard").unwrap().cost(10);
        assert_eq!(calls, 0.2);
    }

    #[test]
    fn calls_that_began_before_are_left_out() {
        let text = "fn=(1) main\ncfn=(2) run\ncalls=0 5\n7 1030\ncfn=(3) walk\ncalls=10 6\n8 30\n";
        let kept = "fn=(1) main\ncfn=(2) run\ncfn=(3) walk\ncalls=10 6\n8 30\n";
        assert_eq!(without_open_calls(text), kept);
    }

    #[test]
    fn a_file_that_does_not_add_up_is_refused() {
        let error = read(&FILE.replace("10 100\n", "10 101\n"), "/x/guard").unwrap_err();
        assert!(error.to_string().contains("Some(1030)"), "{error}");
        let cut = &FILE[..FILE.len() - 30];
        assert!(read(cut, "/x/guard").is_err());
    }
}
