// SPDX-License-Identifier: Apache-2.0
//! The list of commands and their usages, beside what the tool of the reference printed (`recorded/usage.txt`: its list,
//! then for each command a line `=== name` and what `help name` prints).

use admin::cmd;
use admin::command::Effect;
use admin::options;

const RECORDED: &str = include_str!("recorded/usage.txt");

#[test]
fn every_command_says_of_itself_what_the_reference_says() {
    let (_, usages) = RECORDED.split_once("=== ").unwrap();
    for usage in usages.split("=== ") {
        let (name, expected) = usage.split_once('\n').unwrap();
        let command = cmd::ALL.iter().find(|command| command.name == name);
        let command = command.unwrap_or_else(|| panic!("{name} is not listed"));
        if !matches!(command.effect, Effect::Absent(_)) {
            let ours = options::render(&format!("mqadmin {name}"), &options::table(command.options));
            assert_eq!(ours, expected);
        }
    }
}

#[test]
fn the_commands_of_the_reference_are_listed_in_its_order() {
    let (list, _) = RECORDED.split_once("\n\n").unwrap();
    let listed: Vec<&str> = list.lines().skip(1).collect();
    let commands = cmd::ALL.iter().take(listed.len());
    let ours: Vec<String> = commands
        .map(|command| format!("   {:<35} {}", command.name, command.about))
        .collect();
    assert_eq!(ours, listed);
}

#[test]
fn no_two_options_of_a_command_are_called_the_same() {
    for command in cmd::every() {
        let table = options::table(command.options);
        for (index, opt) in table.iter().enumerate() {
            let same = table.iter().skip(index + 1).find(|other| {
                let short = opt.short.is_some() && opt.short == other.short;
                short || (opt.long.is_some() && opt.long == other.long)
            });
            assert!(same.is_none(), "{}: {opt:?}", command.name);
        }
    }
}
