// SPDX-License-Identifier: Apache-2.0
//! `docs/upgrade.md`, played: every block of commands of the page is run as it stands there, in order, on one directory, which goes
//! from the Java servers to barque and back. Messages are sent before, between and after; all of them must be there at the end.
#![expect(
    clippy::disallowed_methods,
    reason = "links, scripts and settings are real files"
)]

use crate::{Outcome, Sides};
use anyhow::{Context as _, ensure};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testkit::process::Process;
use testkit::programs;
use testkit::server::{Ports, Program};

const WITHIN: Duration = Duration::from_secs(180);

/// Java options that let the servers of the reference start fast and open the doors they need.
const JAVA: &str = "exec java --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED \
--add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.util=ALL-UNNAMED \
--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED --add-exports=java.base/sun.nio.ch=ALL-UNNAMED \
--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED -Xmx512m -XX:MaxDirectMemorySize=512m -XX:+UseSerialGC \
-XX:TieredStopAtLevel=1 -Duser.home=\"$HOME\"";

/// What is there before the page begins: servers of the reference, a topic, and a group that has read half of it.
const BEFORE: &str = r#"
"$OLD/mqnamesrv" -c "$CONF/namesrv.conf" > namesrv.out 2>&1 &
until grep -q "boot success" namesrv.out; do sleep 0.2; done
"$OLD/mqbroker" -c "$CONF/broker.conf" -n "$NS" > broker.out 2>&1 &
until grep -q "boot success" broker.out; do sleep 0.2; done
until "$BARQUE/mqadmin" clusterList -n "$NS" 2> /dev/null | grep -q "$BROKER"; do sleep 0.2; done
"$BARQUE/mqadmin" updateTopic -n "$NS" -c DefaultCluster -t "$TOPIC" -r 2 -w 2
"$BARQUE/mqadmin" updateSubGroup -n "$NS" -c DefaultCluster -g "$GROUP"
"$BARQUE/mqadmin" updateTopic -n "$NS" -c DefaultCluster -t "%RETRY%$GROUP" -r 1 -w 1
for i in 1 2 3 4 5 6; do "$BARQUE/mqadmin" sendMessage -n "$NS" -t "$TOPIC" -p "before-$i" | grep -q SEND_OK; done
"$BARQUE/mqadmin" resetOffsetByTime -n "$NS" -g "$GROUP" -t "$TOPIC" -s -1
"#;

/// Every message that was sent is there, once.
const AFTER: &str = r#"
"$BARQUE/mqadmin" printMsg -n "$NS" -t "$TOPIC" -d true > messages
for text in before-1 before-2 before-3 before-4 before-5 before-6 "sent to barque" "found through barque" "sent to Java again"; do
  test "$(grep -c "$text" messages)" = 1
done
echo "all messages are there"
"#;

pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    let Some((Program::Reference(jars), Program::Barque(binary))) = sides.both() else {
        return Ok(Outcome {
            line: "upgrade: SKIPPED, needs both servers".to_owned(),
            findings: Vec::new(),
        });
    };
    let dir = sides.dir.join("upgrade");
    prepare(&dir, jars, binary)?;
    let page = std::fs::read_to_string(programs::root().join("docs/upgrade.md"))?;
    let blocks = blocks(&page);
    ensure!(
        blocks.len() >= 8,
        "docs/upgrade.md has {} blocks of commands",
        blocks.len()
    );
    let mut script = String::from("set -euo pipefail\ntrap 'trap - TERM; kill 0' EXIT\n");
    for (number, block) in std::iter::once(BEFORE)
        .chain(blocks.iter().copied())
        .chain([AFTER])
        .enumerate()
    {
        script.push_str(&format!("echo '== block {number}' >&2\n{block}\n"));
    }
    std::fs::write(dir.join("upgrade.sh"), &script)?;
    let mut command = Command::new("bash");
    // A group of its own: what is started in the background ends with the script.
    command.arg("upgrade.sh").current_dir(&dir).process_group(0);
    for (key, value) in surroundings(&dir) {
        command.env(key, value);
    }
    let mut process = Process::start("script", &dir, command)?;
    let ended = process.finish(WITHIN);
    let passed = process.output()?.contains("all messages are there");
    let mut findings = Vec::new();
    if let Err(error) = ended {
        findings.push(format!("upgrade: {error:#}"));
    } else if !passed {
        findings.push(format!(
            "upgrade: the script has stopped; {}",
            process.last_words()
        ));
    }
    Ok(Outcome {
        line: format!(
            "upgrade: {} blocks of commands of docs/upgrade.md, {} findings",
            blocks.len(),
            findings.len()
        ),
        findings,
    })
}

/// The blocks of shell commands of a page.
fn blocks(page: &str) -> Vec<&str> {
    let parts = page.split("```sh\n").skip(1);
    parts.filter_map(|part| part.split("```").next()).collect()
}

fn surroundings(dir: &Path) -> [(&'static str, String); 8] {
    let here = dir.display();
    let ports = std::fs::read_to_string(dir.join("ns")).unwrap_or_default();
    [
        ("OLD", format!("{here}/old")),
        ("BARQUE", format!("{here}/new")),
        ("CONF", format!("{here}/conf")),
        ("NS", ports),
        ("HOME", format!("{here}/home")),
        ("BROKER", "broker-a".to_owned()),
        ("TOPIC", "orders".to_owned()),
        ("GROUP", "readers".to_owned()),
    ]
}

fn prepare(dir: &Path, jars: &Path, binary: &Path) -> anyhow::Result<()> {
    for name in ["old", "new", "conf", "home"] {
        std::fs::create_dir_all(dir.join(name))?;
    }
    let links = ["mqnamesrv", "mqbroker", "mqadmin", "mqshutdown"];
    for link in links {
        symlink(std::fs::canonicalize(binary)?, dir.join("new").join(link)).context("cannot link barque")?;
    }
    let class_path = jars.display();
    for (name, class) in [
        ("mqnamesrv", "namesrv.NamesrvStartup"),
        ("mqbroker", "broker.BrokerStartup"),
    ] {
        script(
            &dir.join("old").join(name),
            &format!(
                "export ROCKETMQ_HOME=\"$HOME\"\n{JAVA} -cp '{class_path}/*' org.apache.rocketmq.{class} \"$@\""
            ),
        )?;
    }
    // As the script of that name: finds the process and asks it to end; here only the one of this directory.
    script(
        &dir.join("old/mqshutdown"),
        "case \"$1\" in broker) class=BrokerStartup ;; *) class=NamesrvStartup ;; esac\n\
         pid=$(pgrep -f \"^java.*$class -c $CONF/\") || { echo \"No mq$1 running.\"; exit 255; }\n\
         kill $pid",
    )?;
    let Ports { main, replication } = Ports::free()?;
    let names = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let here = dir.display();
    std::fs::write(dir.join("ns"), names.to_string())?;
    std::fs::write(
        dir.join("conf/namesrv.conf"),
        format!(
            "listenPort={}\nkvConfigPath={here}/home/kvConfig.json\nconfigStorePath={here}/home/namesrv.properties\n",
            names.port()
        ),
    )?;
    std::fs::write(
        dir.join("conf/broker.conf"),
        format!(
            "brokerClusterName=DefaultCluster\nbrokerName=broker-a\nbrokerId=0\nbrokerIP1=127.0.0.1\nlistenPort={main}\n\
             haListenPort={replication}\nstorePathRootDir={here}/store\nstorePathCommitLog={here}/store/commitlog\n\
             flushDiskType=ASYNC_FLUSH\nsendMessageThreadPoolNums=4\nbrokerFastFailureEnable=false\n"
        ),
    )?;
    Ok(())
}

fn script(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}
