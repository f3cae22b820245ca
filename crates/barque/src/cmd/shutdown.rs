// SPDX-License-Identifier: Apache-2.0
//! `barque shutdown`: asks the servers of this machine to stop, as the script `mqshutdown` of the reference does.

use crate::{cli, cmd};
use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;

pub(crate) fn run(options: &cli::Shutdown) -> anyhow::Result<()> {
    let (link, command) = match options.server {
        cli::Server::Broker => ("mqbroker", "broker"),
        cli::Server::Namesrv => ("mqnamesrv", "nameserver"),
    };
    let file = options.config.as_deref();
    let found = running(|arguments| is_server(arguments, link, command, file))?;
    if found.is_empty() {
        match file {
            Some(file) => bail!("No {link} running with {file}."),
            None => bail!("No {link} running."),
        }
    }
    for pid in found {
        let id = pid.as_raw_nonzero();
        cmd::print(&format!("The {link}({id}) is running...\n"));
        kill_process(pid, Signal::TERM).with_context(|| format!("cannot stop {link}({id})"))?;
        cmd::print(&format!("Send shutdown request to {link}({id}) OK\n"));
    }
    Ok(())
}

/// The processes with such arguments.
fn running(is_meant: impl Fn(&str) -> bool) -> anyhow::Result<Vec<Pid>> {
    let entries = std::fs::read_dir("/proc").context("cannot look for processes: there is no /proc")?;
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = id.and_then(Pid::from_raw) else {
            continue;
        };
        // It may have ended meanwhile.
        let arguments = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if is_meant(&arguments) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Whether a process with these arguments (each ended by a zero) is the server, under one of its names, and was started with the
/// file if one is asked for.
fn is_server(arguments: &str, link: &str, command: &str, file: Option<&str>) -> bool {
    let mut arguments = arguments.split('\0');
    let program = arguments.next().unwrap_or_default();
    let name = Path::new(program).file_name().and_then(|name| name.to_str());
    let is_server = name == Some(link) || (name == Some("barque") && arguments.next() == Some(command));
    let mut values = arguments.map(|argument| argument.rsplit('=').next().unwrap_or(argument));
    is_server && file.is_none_or(|file| values.any(|value| value == file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_link_or_by_its_command_and_by_nothing_else() {
        let is = |arguments| is_server(arguments, "mqbroker", "broker", None);
        assert!(is("/opt/bin/mqbroker\0-c\0a.conf\0"));
        assert!(is("barque\0broker\0"));
        for other in [
            "",
            "barque\0nameserver\0",
            "vi\0broker\0",
            "sh\0/opt/bin/mqbroker\0",
            "barque\0shutdown\0broker\0",
        ] {
            assert!(!is(other), "{other}");
        }
    }

    #[test]
    fn of_several_servers_the_one_with_the_file_is_meant() {
        let is = |arguments| is_server(arguments, "mqbroker", "broker", Some("a.conf"));
        assert!(is("mqbroker\0-c\0a.conf\0") && is("barque\0broker\0--config=a.conf\0"));
        assert!(!is("mqbroker\0-c\0b.conf\0") && !is("mqbroker\0"));
    }
}
