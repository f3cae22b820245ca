// SPDX-License-Identifier: Apache-2.0
//! A name server, a broker, or both, as processes: the Java reference and barque behind one face, so that a test can be
//! run against either and a directory can be handed from one to the other.
#![expect(
    clippy::disallowed_methods,
    reason = "real servers are given real configuration files"
)]

use crate::line::{Line, request};
use crate::process::{Process, eventually};
use anyhow::bail;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use store::disk::backup_of;
use wire::code::{Code, ResponseCode};
use wire::frame::Encoding;

/// The broker's name unless a plan says otherwise.
pub const BROKER: &str = "broker-a";
/// A loaded machine starts two JVMs in this time.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// What to run.
#[derive(Debug, Clone)]
pub enum Program {
    /// The Java reference: the directory of its jars.
    Reference(PathBuf),
    /// Our binary.
    Barque(PathBuf),
}

/// How to run it.
#[derive(Debug, Clone)]
pub struct Plan {
    program: Program,
    dir: PathBuf,
    broker: String,
    settings: Vec<(String, String)>,
    nameservers: Vec<SocketAddr>,
    ports: Option<Ports>,
    surroundings: Vec<(String, PathBuf)>,
    keeps_settings: bool,
    is_roomy: bool,
    logs: PathBuf,
    jvm: Vec<String>,
    /// What comes before the name of the program on its command line.
    inside: Vec<String>,
}

/// Where a broker listens. One that takes over from another one has its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// For clients; the port two below belongs to it.
    pub main: u16,
    /// For its slaves.
    pub replication: u16,
}

impl Ports {
    /// Some that nobody has.
    pub fn free() -> anyhow::Result<Ports> {
        let [main, _, replication] = free_ports()?;
        Ok(Ports { main, replication })
    }
}

/// What runs. Ends with its owner, killed if nobody stopped it.
pub struct Server {
    nameserver: Option<SocketAddr>,
    broker: Option<SocketAddr>,
    /// In the order in which they are stopped.
    processes: Vec<Process>,
}

impl Plan {
    /// Runs `program` with everything it stores below `dir`.
    pub fn new(program: &Program, dir: &Path) -> Plan {
        Plan {
            program: program.clone(),
            dir: dir.to_path_buf(),
            broker: BROKER.to_owned(),
            settings: Vec::new(),
            nameservers: Vec::new(),
            ports: None,
            surroundings: Vec::new(),
            keeps_settings: false,
            is_roomy: false,
            logs: dir.to_path_buf(),
            jvm: Vec::new(),
            inside: Vec::new(),
        }
    }

    /// Started by another program, which becomes it: the words of its command line.
    #[must_use]
    pub fn started_by(mut self, words: Vec<String>) -> Plan {
        self.inside = words;
        self
    }

    /// With an option of its JVM, which wins over those that it has anyway. Ours has none.
    #[must_use]
    pub fn jvm(mut self, option: &str) -> Plan {
        self.jvm.push(option.to_owned());
        self
    }

    /// With what it prints in another directory.
    #[must_use]
    pub fn printing_to(mut self, dir: &Path) -> Plan {
        self.logs = dir.to_path_buf();
        self
    }

    /// With a path in its environment.
    #[must_use]
    pub fn told(mut self, name: &str, path: &Path) -> Plan {
        self.surroundings.push((name.to_owned(), path.to_path_buf()));
        self
    }

    /// Settings that the one before it was given by requests stay.
    #[must_use]
    pub fn keeping_settings(mut self) -> Plan {
        self.keeps_settings = true;
        self
    }

    /// For much work: a JVM gets memory for it, and compiles what is hot as well as it can.
    #[must_use]
    pub fn roomy(mut self) -> Plan {
        self.is_roomy = true;
        self
    }

    /// On these ports instead of any that are free.
    #[must_use]
    pub fn on(mut self, ports: Ports) -> Plan {
        self.ports = Some(ports);
        self
    }

    /// With a broker setting, as it would stand in broker.conf.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Plan {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// With another broker name.
    #[must_use]
    pub fn named(mut self, broker: &str) -> Plan {
        self.broker = broker.to_owned();
        self
    }

    /// With a name server that already runs; may be said twice.
    #[must_use]
    pub fn known_to(mut self, nameserver: SocketAddr) -> Plan {
        self.nameservers.push(nameserver);
        self
    }

    /// A name server and a broker that have found each other. Ours are one process, as `barque dev` runs them.
    pub fn start(&self) -> anyhow::Result<Server> {
        if let Program::Barque(binary) = &self.program {
            return self.dev(binary);
        }
        let nameserver = self.start_nameserver()?;
        let mut both = self.clone().known_to(nameserver.nameserver()).start_broker()?;
        both.nameserver = nameserver.nameserver;
        both.processes.extend(nameserver.processes);
        Ok(both)
    }

    /// A name server alone.
    pub fn start_nameserver(&self) -> anyhow::Result<Server> {
        self.start_nameserver_with(&[])
    }

    /// The same with settings of its own.
    pub fn start_nameserver_with(&self, settings: &[(&str, &str)]) -> anyhow::Result<Server> {
        let [port, ..] = free_ports()?;
        let file = self.dir.join("nameserver.conf");
        let dir = self.dir.display();
        let mut conf = format!(
            "listenPort={port}\nkvConfigPath={dir}/kvConfig.json\nconfigStorePath={dir}/namesrv.properties\n"
        );
        for (key, value) in settings {
            conf.push_str(&format!("{key}={value}\n"));
        }
        write(&file, &conf)?;
        let mut command = match &self.program {
            Program::Reference(jars) => self.java(jars, "namesrv.NamesrvStartup", "-Xmx128m"),
            Program::Barque(binary) => self.barque(binary, "nameserver"),
        };
        command.arg("-c").arg(&file);
        let mut process = Process::start("nameserver", &self.dir, command)?;
        let addr = local(port);
        eventually("the name server", READY_WITHIN, || {
            alive(&mut process)?;
            Ok(knows(addr, addr).is_ok())
        })?;
        Ok(Server {
            nameserver: Some(addr),
            broker: None,
            processes: vec![process],
        })
    }

    /// A broker that has registered with the name servers named before.
    pub fn start_broker(&self) -> anyhow::Result<Server> {
        let ports = self.ports()?;
        let file = self.broker_conf(ports)?;
        let mut command = match &self.program {
            Program::Reference(jars) => {
                let heap = if self.is_roomy { "-Xmx2g" } else { "-Xmx512m" };
                self.java(jars, "broker.BrokerStartup", heap)
            }
            Program::Barque(binary) => self.barque(binary, "broker"),
        };
        command.arg("-c").arg(&file);
        let mut process = Process::start("broker", &self.logs, command)?;
        for nameserver in &self.nameservers {
            eventually("the broker to register", READY_WITHIN, || {
                alive(&mut process)?;
                // The name server may still know the one before it on the same port.
                Ok(knows(*nameserver, local(ports.main))? && Line::open(local(ports.main)).is_ok())
            })?;
        }
        Ok(Server {
            nameserver: None,
            broker: Some(local(ports.main)),
            processes: vec![process],
        })
    }

    /// Writes the settings, for who needs them to be there before the start.
    pub fn write_settings(&self) -> anyhow::Result<()> {
        self.broker_conf(self.ports()?).map(drop)
    }

    fn ports(&self) -> anyhow::Result<Ports> {
        self.ports.map_or_else(Ports::free, Ok)
    }

    fn dev(&self, binary: &Path) -> anyhow::Result<Server> {
        let mut server = self.dev_unready(binary)?;
        let (nameserver, broker) = (server.nameserver(), server.broker());
        for process in &mut server.processes {
            eventually("barque dev", READY_WITHIN, || {
                alive(process)?;
                Ok(knows(nameserver, broker).unwrap_or(false))
            })?;
        }
        Ok(server)
    }

    /// The same as [`Plan::start`] without waiting until it is ready. Only ours.
    pub fn start_unready(&self) -> anyhow::Result<Server> {
        match &self.program {
            Program::Barque(binary) => self.dev_unready(binary),
            Program::Reference(_) => bail!("two processes that wait for each other"),
        }
    }

    fn dev_unready(&self, binary: &Path) -> anyhow::Result<Server> {
        let ports = self.ports()?;
        let [nameserver, ..] = free_ports()?;
        let file = self.broker_conf(ports)?;
        let mut command = self.barque(binary, "dev");
        command.arg("--data").arg(&self.dir);
        command.args([
            "--host",
            "127.0.0.1",
            "--nameserver-port",
            &nameserver.to_string(),
        ]);
        command
            .args(["--broker-port", &ports.main.to_string(), "--config"])
            .arg(&file);
        let process = Process::start("dev", &self.logs, command)?;
        Ok(Server {
            nameserver: Some(local(nameserver)),
            broker: Some(local(ports.main)),
            processes: vec![process],
        })
    }

    fn barque(&self, binary: &Path, verb: &str) -> Command {
        // A JVM ignores the signal that comes with a write beyond a limit; of ours the shell that starts it does.
        let mut command = self.command("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(binary);
        command.arg(verb).current_dir(&self.dir).env("HOME", &self.dir);
        for (name, path) in &self.surroundings {
            command.env(name, path);
        }
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut words = self.inside.iter().map(String::as_str).chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words);
        command
    }

    /// A JVM that starts fast rather than runs fast, unless it has much to do, with the doors the reference needs open.
    fn java(&self, jars: &Path, main: &str, heap: &str) -> Command {
        let mut command = self.command("java");
        for open in ["java.nio", "sun.nio.ch", "java.lang", "java.util"] {
            command.arg(format!("--add-opens=java.base/{open}=ALL-UNNAMED"));
        }
        for export in ["jdk.internal.ref", "sun.nio.ch", "jdk.internal.misc"] {
            command.arg(format!("--add-exports=java.base/{export}=ALL-UNNAMED"));
        }
        command.arg(heap);
        command.args(if self.is_roomy {
            ["-XX:MaxDirectMemorySize=4g", "-XX:+UseG1GC"].as_slice()
        } else {
            &[
                "-XX:MaxDirectMemorySize=512m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
            ]
        });
        command.args(&self.jvm);
        command.arg(format!("-Duser.home={}", self.dir.display()));
        command
            .arg("-cp")
            .arg(jars.join("*"))
            .arg(format!("org.apache.rocketmq.{main}"));
        command
            .current_dir(&self.dir)
            .env("ROCKETMQ_HOME", self.dir.join("home"));
        command
    }

    /// The same file for both programs: that is what being a drop-in means.
    fn broker_conf(&self, ports: Ports) -> anyhow::Result<PathBuf> {
        let Ports { main, replication } = ports;
        let nameservers: Vec<String> = self.nameservers.iter().map(SocketAddr::to_string).collect();
        let store = self.dir.join("store");
        let mut conf = format!(
            "brokerClusterName=DefaultCluster\nbrokerName={}\nbrokerId=0\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\n\
             listenPort={main}\nhaListenPort={replication}\nstorePathRootDir={}\nstorePathCommitLog={}\n\
             metricsPromExporterPort=0\n",
            self.broker,
            store.display(),
            store.join("commitlog").display(),
        );
        if !nameservers.is_empty() {
            conf.push_str(&format!("namesrvAddr={}\n", nameservers.join(";")));
        }
        if let Program::Reference(_) = self.program {
            // It refuses requests that wait 200 ms, which on a loaded machine says nothing about either server.
            conf.push_str("brokerFastFailureEnable=false\nosPageCacheBusyTimeOutMills=60000\n");
        }
        for (key, value) in &self.settings {
            conf.push_str(&format!("{key}={value}\n"));
        }
        let file = self.dir.join("broker.conf");
        // A kill may have left the backup alone.
        let is_there = file.exists() || backup_of(&file).exists();
        if !self.keeps_settings || !is_there {
            write(&file, &conf)?;
        }
        Ok(file)
    }
}

impl Server {
    /// Where its name server listens.
    ///
    /// # Panics
    /// If the plan started none.
    pub fn nameserver(&self) -> SocketAddr {
        let Some(addr) = self.nameserver else {
            panic!("this server has no name server");
        };
        addr
    }

    /// Where its broker listens.
    ///
    /// # Panics
    /// If the plan started none.
    pub fn broker(&self) -> SocketAddr {
        let Some(addr) = self.broker else {
            panic!("this server has no broker");
        };
        addr
    }

    /// Whether all of it still runs.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        for process in &mut self.processes {
            if !process.is_running()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// See [`Process::freeze`].
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.processes.iter().try_for_each(Process::freeze)
    }

    /// See [`Process::thaw`].
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.processes.iter().try_for_each(Process::thaw)
    }

    /// See [`Process::limit_files`].
    pub fn limit_files(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        self.processes
            .iter()
            .try_for_each(|process| process.limit_files(bytes))
    }

    /// The memory of all its processes, in bytes.
    pub fn memory_bytes(&self) -> anyhow::Result<u64> {
        self.processes.iter().map(Process::memory_bytes).sum()
    }

    /// The lines of its log so far with these words; ours says them on stderr.
    pub fn lines_with(&self, words: &str) -> anyhow::Result<Vec<String>> {
        let mut lines = Vec::new();
        for process in &self.processes {
            let said = process.complaints()?;
            lines.extend(
                said.lines()
                    .filter(|line| line.contains(words))
                    .map(str::to_owned),
            );
        }
        Ok(lines)
    }

    /// Ends it in good order, the broker first.
    pub fn stop(mut self) -> anyhow::Result<()> {
        for process in &mut self.processes {
            let status = process.stop()?;
            // A JVM ends with 143 when it was asked by a signal.
            if !status.success() && status.code() != Some(143) {
                bail!("stopped with {status}; {}", process.last_words());
            }
        }
        Ok(())
    }

    /// Ends it as a power cut would: nothing is asked first.
    pub fn kill(mut self) -> anyhow::Result<()> {
        for process in &mut self.processes {
            process.kill()?;
        }
        Ok(())
    }
}

fn alive(process: &mut Process) -> anyhow::Result<()> {
    if !process.is_running()? {
        bail!("ended while it was starting; {}", process.last_words());
    }
    Ok(())
}

/// Whether the name server knows a broker there, master or slave.
fn knows(nameserver: SocketAddr, broker: SocketAddr) -> anyhow::Result<bool> {
    let cluster = request(Code::GET_BROKER_CLUSTER_INFO, &[], b"");
    let reply = Line::open(nameserver)?.ask(cluster, Encoding::Json)?;
    let body = String::from_utf8_lossy(&reply.body);
    Ok(reply.code == ResponseCode::SUCCESS.0 && body.contains(&format!("\"{broker}\"")))
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A free port, the one two below it (brokers take both) and one more. None is given twice in one run, and the system gives
/// none of them to a client: they are below those.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    const FIRST: u32 = 10_000;
    const PLACES: u32 = 5_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Runs at the same time begin at different places.
    let begin = std::process::id().wrapping_mul(997);
    for _ in 0..PLACES {
        let place = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PLACES;
        let twin = u16::try_from(FIRST + place * 4)?;
        let ports = [twin + 2, twin, twin + 3];
        if ports.iter().all(|port| TcpListener::bind(local(*port)).is_ok()) {
            return Ok(ports);
        }
    }
    bail!("no free ports");
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    Ok(std::fs::write(file, text)?)
}
