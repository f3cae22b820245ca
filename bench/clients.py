"""The official Java client as the load: 64 threads that send, and a push consumer of 64 threads."""
import os, subprocess
from pathlib import Path

from server import last_line

HERE = Path(__file__).resolve().parent
# More than the client takes in its warm-up and the seconds after it, or at least enough to count.
MESSAGES = 6_000_000


def official(s, options, keep):
    classes = compiled(s.dir.parent / "classes")
    s.load("produce", topic="official", size=128, conns=1, window=1, seconds=0.1, warmup=0)  # creates it
    keep("official producers 128B 64 threads", run(s, classes, "produce", options.seconds))
    s.fill("officialin", 128, MESSAGES)
    keep("official consumers 128B 64 threads", run(s, classes, "consume", options.seconds))


def classpath():
    return os.environ["JAVA_LIB"] + "/*"


def compiled(folder):
    """Our program against the official client, compiled once a run."""
    if not folder.exists():
        subprocess.run(["javac", "-cp", classpath(), "-d", folder, HERE / "official/Official.java"], check=True)
    return folder


def run(s, classes, what, seconds):
    topic = "official" if what == "produce" else "officialin"
    home = s.dir / "client"
    home.mkdir(parents=True, exist_ok=True)
    p = subprocess.run(["java", f"-Duser.home={home}", "-Xmx1g", "-XX:+UseG1GC", "-Drocketmq.client.logLevel=ERROR", "-cp",
                        f"{classes}:{classpath()}", "Official", what, f"127.0.0.1:{s.ns_port}", topic, "64", "128",
                        str(seconds), str(s.broker.pid)],
                       capture_output=True, text=True, timeout=seconds + 120)
    result = last_line(p.stdout)
    if not result:
        print(f"# {s.name} official {what}: failed: {p.stderr.strip()[-300:]}", flush=True)
    return result
