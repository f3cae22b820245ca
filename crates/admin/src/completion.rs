// SPDX-License-Identifier: Apache-2.0
//! Completion scripts for shells, made from the tables of commands and options.

use std::fmt::Write as _;

use crate::cmd;
use crate::command::{Command, Effect};
use crate::options::{self, Opt};

/// The script for a shell, if it is one we know.
pub(crate) fn script(shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash()),
        "zsh" => Some(format!("autoload -U +X bashcompinit && bashcompinit\n{}", bash())),
        "fish" => Some(fish()),
        _ => None,
    }
}

fn commands() -> impl Iterator<Item = &'static Command> {
    let present = |command: &&Command| !matches!(command.effect, Effect::Absent(_));
    cmd::every().filter(present)
}

/// All spellings of the options of a command.
fn words(command: &Command) -> String {
    let mut words: Vec<String> = Vec::new();
    for Opt { short, long, .. } in options::table(command.options) {
        words.extend(short.map(|name| format!("-{name}")));
        words.extend(
            long.filter(|name| !name.contains(' '))
                .map(|name| format!("--{name}")),
        );
    }
    words.extend(["--output".to_owned(), "--watch".to_owned(), "--yes".to_owned()]);
    words.join(" ")
}

/// Also read by zsh.
fn bash() -> String {
    let names = commands().map(|command| command.name);
    let names: Vec<&str> = names.chain([cmd::BENCH.0]).collect();
    let mut out = String::from(
        "_barque_admin() {\n\
         \x20 local word=\"${COMP_WORDS[COMP_CWORD]}\" at=1\n\
         \x20 if [ \"${COMP_WORDS[0]##*/}\" = barque ]; then\n\
         \x20   [ \"${COMP_WORDS[1]}\" = admin ] || return\n\
         \x20   at=2\n\
         \x20 fi\n\
         \x20 if [ \"$COMP_CWORD\" -eq \"$at\" ]; then\n",
    );
    // Writing to a string cannot fail, here and below.
    let _ok = writeln!(
        out,
        "    COMPREPLY=($(compgen -W \"help completion {}\" -- \"$word\"))\n    return\n  fi",
        names.join(" ")
    );
    out.push_str(
        "  case \"${COMP_WORDS[COMP_CWORD-1]}\" in\n\
         \x20   --output) COMPREPLY=($(compgen -W \"table json yaml\" -- \"$word\")); return ;;\n\
         \x20   help) COMPREPLY=($(compgen -W \"",
    );
    out.push_str(&names.join(" "));
    out.push_str("\" -- \"$word\")); return ;;\n  esac\n  case \"${COMP_WORDS[$at]}\" in\n");
    for command in commands() {
        let _ok = writeln!(
            out,
            "    {}) COMPREPLY=($(compgen -W \"{}\" -- \"$word\")) ;;",
            command.name,
            words(command)
        );
    }
    out.push_str("  esac\n}\ncomplete -F _barque_admin mqadmin\ncomplete -F _barque_admin barque\n");
    out
}

/// The programs, and when the next word is a command.
const PROGRAMS: [(&str, &str); 2] = [
    ("mqadmin", "__fish_use_subcommand"),
    ("barque", "__fish_seen_subcommand_from admin"),
];

fn fish() -> String {
    let mut out = String::new();
    let names = commands().map(|command| (command.name, command.about));
    for (name, about) in names.chain([cmd::BENCH]) {
        let about = about.replace('\'', "\\'");
        for (program, first) in PROGRAMS {
            let _ok = writeln!(
                out,
                "complete -c {program} -f -n '{first}' -a {name} -d '{about}'"
            );
        }
    }
    for command in commands() {
        for (program, _) in PROGRAMS {
            for opt in options::table(command.options) {
                let long = opt.long.filter(|name| !name.contains(' '));
                let long = long.map(|name| format!(" -l {name}")).unwrap_or_default();
                let short = opt.short.map(|name| {
                    let kind = if name.len() == 1 { "-s" } else { "-o" };
                    format!(" {kind} {name}")
                });
                let value = if opt.takes_value { " -r" } else { "" };
                let _ok = writeln!(
                    out,
                    "complete -c {program} -f -n '__fish_seen_subcommand_from {}'{}{long}{value} -d '{}'",
                    command.name,
                    short.unwrap_or_default(),
                    opt.about.replace('\'', "\\'")
                );
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shells that are there read what is made for them; all commands and their options are in it, and none that is absent.
    #[test]
    fn every_command_and_option_is_in_every_script() {
        for shell in ["bash", "zsh", "fish"] {
            let script = script(shell).unwrap();
            for command in commands() {
                assert!(script.contains(command.name), "{shell}: {}", command.name);
                for opt in options::table(command.options) {
                    let long = opt.long.filter(|name| !name.contains(' '));
                    let long = long.map(|name| match shell {
                        "fish" => format!("-l {name}"),
                        _ => format!("--{name}"),
                    });
                    let long = long.unwrap_or_default();
                    assert!(script.contains(&long), "{shell}: {}: {long}", command.name);
                }
            }
            assert!(!script.contains("addBroker"), "{shell}");
        }
        assert!(script("tcsh").is_none());
    }

    #[test]
    fn bash_offers_what_may_follow() {
        let offers = |line: &str| -> Vec<String> {
            let words: Vec<&str> = line.split(' ').collect();
            let ask = format!(
                "{}\nCOMP_WORDS=({}); COMP_CWORD={}; _barque_admin; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
                bash(),
                words
                    .iter()
                    .map(|word| format!("'{word}'"))
                    .collect::<Vec<_>>()
                    .join(" "),
                words.len() - 1
            );
            let shown = std::process::Command::new("bash")
                .args(["--norc", "-c", &ask])
                .output()
                .unwrap();
            let shown = String::from_utf8(shown.stdout).unwrap();
            shown
                .lines()
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(offers("mqadmin configH"), ["configHistory"]);
        assert_eq!(offers("barque admin topicSta"), ["topicStatus"]);
        assert_eq!(offers("/usr/bin/barque admin help configH"), ["configHistory"]);
        assert_eq!(offers("mqadmin tail --ful"), ["--full"]);
        assert_eq!(offers("mqadmin tail --output j"), ["json"]);
        assert_eq!(offers("barque broker --"), Vec::<String>::new());
    }
}
