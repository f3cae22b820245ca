// SPDX-License-Identifier: Apache-2.0
//! The command line: what can be asked for. What is done about it is in the modules named like the commands.

pub(crate) mod bench;
pub(crate) mod store;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// A message broker that speaks the Apache RocketMQ protocol.
#[derive(Debug, Parser)]
#[command(name = "barque", version, arg_required_else_help = true, after_help = ENVIRONMENT)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const ENVIRONMENT: &str = "\
Environment:
  NAMESRV_ADDR   name servers of a broker and of bench, where neither -n nor the configuration names any
  ROCKETMQ_HOME  value of the setting rocketmqHome
  RUST_LOG       what is logged, where logLevel does not say it: error, warn, info, debug, or per module
                 (store=debug,warn); dev starts with warn, the others with info

Called as mqnamesrv or mqbroker, the program is `barque nameserver` or `barque broker` with the same options, and logs to
files as the scripts of these names do. Called as mqshutdown it is `barque shutdown`, called as mqadmin it takes the
commands of `barque admin`.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a name server and a broker in one process, to develop against
    Dev(Dev),
    /// Run a name server
    Nameserver(Nameserver),
    /// Run a broker
    Broker(Broker),
    /// Ask the brokers or the name servers of this machine to stop
    Shutdown(Shutdown),
    /// Load a server, ours or the Java one, and tell how it did
    Bench(Box<bench::Bench>),
    /// Look at the directory of a broker that is stopped, mend it, show what is in it
    Store(store::Store),
    /// Run a command of an operator (the commands of mqadmin)
    Admin(Admin),
}

#[derive(Debug, Args)]
pub(crate) struct Shutdown {
    /// Which servers
    #[arg(value_enum)]
    pub(crate) server: Server,
    /// Only those that were started with this configuration file, named as it was then
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(crate) config: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    Broker,
    #[value(alias = "nameserver")]
    Namesrv,
}

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Directory for everything that is stored; created where it is missing [default: barque-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address to listen on and to tell clients [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(crate) host: Option<IpAddr>,
    /// Port of the name server; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 9876)]
    pub(crate) nameserver_port: u16,
    /// Port of the broker, which also takes the port two below; 0 takes free ones [default: 10911]
    #[arg(long, value_name = "PORT")]
    pub(crate) broker_port: Option<u16>,
    /// Configuration file of the broker (the options above win over it)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) logging: Logging,
}

#[derive(Debug, Args)]
pub(crate) struct Nameserver {
    /// Configuration file (Java properties)
    #[arg(
        short = 'c',
        long = "config",
        visible_alias = "configFile",
        value_name = "FILE"
    )]
    pub(crate) config: Option<PathBuf>,
    /// Print the configuration and exit
    #[arg(short = 'p', long = "print", visible_alias = "printConfigItem")]
    pub(crate) print: bool,
    /// Accepted as the Java program does; a name server knows no others
    #[arg(short = 'n', long = "namesrvAddr", value_name = "LIST", hide = true)]
    pub(crate) nameservers: Option<String>,
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) logging: Logging,
}

#[derive(Debug, Args)]
pub(crate) struct Broker {
    /// Configuration file (Java properties, as broker.conf)
    #[arg(
        short = 'c',
        long = "config",
        visible_alias = "configFile",
        value_name = "FILE"
    )]
    pub(crate) config: Option<PathBuf>,
    /// Name servers, separated by `;`
    #[arg(
        short = 'n',
        long = "nameservers",
        visible_alias = "namesrvAddr",
        value_name = "HOST:PORT;…"
    )]
    pub(crate) nameservers: Option<String>,
    /// Print the configuration and exit
    #[arg(short = 'p', long = "print", visible_alias = "printConfigItem")]
    pub(crate) print: bool,
    /// Print the settings that most installations change and exit
    #[arg(short = 'm', long = "print-important", visible_alias = "printImportantConfig")]
    pub(crate) print_important: bool,
    /// The Java program starts a proxy with this
    #[arg(long = "enable-proxy", hide = true)]
    pub(crate) enable_proxy: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) logging: Logging,
}

/// Everything behind the word is read by the `admin` crate, as the reference reads it.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Admin {
    /// Command and its options; none lists the commands
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) words: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// One setting, as it would stand in the configuration file; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
}

/// Where the log goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct Logging {
    /// Where the log goes
    #[arg(
        long,
        value_enum,
        value_name = "PLACE",
        default_value = "stderr",
        overrides_with = "log"
    )]
    pub(crate) log: LogTo,
    /// What a line looks like
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Directory of --log files [default: logs/rocketmqlogs in the home directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) log_dir: Option<PathBuf>,
    /// Size in MiB at which a log file is compressed into `otherdays`
    #[arg(long, value_name = "MIB", default_value = "128")]
    pub(crate) log_file_mib: NonZeroU32,
    /// Compressed log files that are kept
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub(crate) log_files: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogTo {
    Stderr,
    Stdout,
    /// broker.log or namesrv.log, and access.log for what administrators do
    Files,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    /// One JSON object per line
    Json,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// The reference's name for the tool of operators.
const MQADMIN: &str = "mqadmin";

/// Whether the program was called by that name.
pub(crate) fn called_as_mqadmin(program: Option<OsString>) -> bool {
    let program = program.unwrap_or_default();
    Path::new(&program)
        .file_stem()
        .is_some_and(|name| name == MQADMIN)
}

/// Puts the command in front of the options when the program was called by one of the reference's names.
pub(crate) fn with_command(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let name = args
        .first()
        .and_then(|program| Path::new(program).file_stem())
        .unwrap_or_default();
    let command: &[&str] = match name.to_str() {
        Some("mqnamesrv") => &["nameserver", "--log=files"],
        Some("mqbroker") => &["broker", "--log=files"],
        Some("mqshutdown") => &["shutdown"],
        Some(MQADMIN) => &["admin"],
        _ => &[],
    };
    args.splice(1..1, command.iter().map(OsString::from));
    if let (Some(program), [_, ..]) = (args.first_mut(), command) {
        // What a usage shows is a call that works: `mqshutdown shutdown` would be none.
        *program = "barque".into();
    }
    // One of the commands of operators has a crate and options of its own.
    let words: Vec<&str> = args
        .iter()
        .skip(1)
        .map(|arg| arg.to_str().unwrap_or_default())
        .collect();
    match words[..] {
        ["admin", "bench", ..] => drop(args.remove(1)),
        ["admin", "help", "bench"] => args
            .splice(1.., ["bench", "--help"].map(OsString::from))
            .for_each(drop),
        _ => {}
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Command {
        let args = with_command(args.iter().map(OsString::from));
        Cli::try_parse_from(args).unwrap().command
    }

    #[test]
    fn the_reference_names_stand_for_commands() {
        let Command::Broker(broker) =
            parse(&["/opt/bin/mqbroker", "-n", "a:9876;b:9876", "-c", "x.conf", "-m"])
        else {
            panic!("mqbroker is a broker");
        };
        assert_eq!(broker.nameservers.as_deref(), Some("a:9876;b:9876"));
        assert!(broker.print_important && !broker.print);
        let Command::Admin(admin) = parse(&["mqadmin", "topicRoute", "-h", "-t", "x"]) else {
            panic!("mqadmin is the tool of operators");
        };
        assert_eq!(admin.words, ["topicRoute", "-h", "-t", "x"]);
        assert!(matches!(
            parse(&["mqadmin", "bench", "produce"]),
            Command::Bench(_)
        ));
        assert!(matches!(
            parse(&["barque", "admin", "bench", "e2e"]),
            Command::Bench(_)
        ));
        assert_eq!(broker.logging.log, LogTo::Files);
        let Command::Nameserver(nameserver) = parse(&["mqnamesrv", "-p", "--log", "stdout"]) else {
            panic!("mqnamesrv is a name server");
        };
        assert!(nameserver.print);
        assert_eq!(nameserver.logging.log, LogTo::Stdout);
    }

    #[test]
    fn settings_keep_everything_after_the_first_equals_sign() {
        let Command::Dev(dev) = parse(&["barque", "dev", "--set", "namesrvAddr = a=b", "--set", "x="]) else {
            panic!("dev is dev");
        };
        let expected = [
            ("namesrvAddr".to_owned(), "a=b".to_owned()),
            ("x".to_owned(), String::new()),
        ];
        assert_eq!(dev.settings.set, expected);
    }
}
