"""One server under test: starting, stopping and loading it, and what the machine says about it."""
import json, os, shutil, signal, subprocess, time
from pathlib import Path

# A load that takes this much longer than it was told to is given up, and a stop that takes this long becomes a kill.
PATIENCE_S = 300


class Server:
    def __init__(self, name, script, work, port, ns_port, loadgen):
        self.name, self.script, self.loadgen = name, str(Path(script).resolve()), loadgen
        # What it is, whatever it is called: java, floor or barque.
        self.kind = Path(script).stem
        self.dir = Path(work).resolve() / name
        self.port, self.ns_port = port, ns_port
        self.addr = f"127.0.0.1:{port}"
        self.ns = self.broker = None
        self.conf, self.flush = "", "ASYNC_FLUSH"
        # Topics that hold messages to consume.
        self.filled = set()

    def spawn(self, role, port):
        self.dir.mkdir(parents=True, exist_ok=True)
        env = dict(os.environ, DIR=str(self.dir / role), PORT=str(port), NS_PORT=str(self.ns_port), FLUSH=self.flush,
                   CONF=self.conf)
        log = open(self.dir / f"{role}.out", "ab")
        return subprocess.Popen([self.script, role], env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                start_new_session=True)

    def start(self, fresh=True):
        """Starts the broker (and the name server once); what the probe says of its first accepted send."""
        if fresh:
            self.remove()
        if self.ns is None:
            self.ns = self.spawn("namesrv", self.ns_port)
            time.sleep(5 if self.kind == "java" else 0.5)
        self.broker = self.spawn("broker", self.port)
        up = self.load("probe", timeout=PATIENCE_S)
        if not up or not self.alive():
            raise RuntimeError(f"{self.name} accepted no send: see {self.dir}/broker.out")
        up["cpu_s"] = self.cpu()
        return up

    def stop(self, hard=False):
        if self.broker and self.broker.poll() is None:
            self.broker.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
            try:
                self.broker.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.broker.kill()
                self.broker.wait()
        self.broker = None

    def remove(self):
        """Deletes what the broker has stored."""
        shutil.rmtree(self.dir / "broker", ignore_errors=True)
        self.filled.clear()

    def close(self):
        self.stop()
        self.remove()
        if self.ns:
            self.ns.terminate()
            try:
                self.ns.wait(20)
            except subprocess.TimeoutExpired:
                self.ns.kill()
            self.ns = None

    def alive(self):
        return self.broker is not None and self.broker.poll() is None

    def command(self, mode, options):
        cmd = [self.loadgen, mode, "--broker", self.addr]
        for k, v in options.items():
            cmd += [f"--{k.replace('_', '-')}", str(v)]
        return cmd

    def load(self, mode, **options):
        """One run of the load generator; its result, or None when it failed."""
        cmd = self.command(mode, options)
        if self.broker:
            cmd += ["--server-pid", str(self.broker.pid)]
        limit = options.get("seconds", 10) + options.get("warmup", 2) + PATIENCE_S
        try:
            p = subprocess.run(cmd, capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return self.failed(mode, options, f"not done after {limit} s")
        result = last_line(p.stdout)
        if p.returncode or not result:
            return self.failed(mode, options, p.stderr.strip()[:300])
        if mode == "batch":
            self.filled.add(options.get("topic"))
        return result

    def failed(self, mode, options, why):
        print(f"# {self.name} {mode} {options}: failed: {why}", flush=True)
        if self.broker and not self.alive():
            print(f"# {self.name}: the broker has ended with {self.broker.returncode}", flush=True)

    def spawn_load(self, mode, **options):
        """The load generator in the background."""
        return subprocess.Popen(self.command(mode, options), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def fill(self, topic, size, messages):
        """Stores messages in a topic, unless it holds some."""
        if topic not in self.filled:
            self.load("batch", size=size, conns=4, window=4, topic=topic, messages=messages, warmup=0, seconds=PATIENCE_S)

    def memory(self):
        """Resident MiB, and the part of it that is not mapped files."""
        kib = dict(l.split()[:2] for l in open(f"/proc/{self.broker.pid}/status") if l.startswith(("VmRSS", "RssAnon")))
        return int(kib["VmRSS:"]) / 1024, int(kib["RssAnon:"]) / 1024

    def cpu(self):
        """CPU seconds since the broker started."""
        f = open(f"/proc/{self.broker.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")

    def files(self):
        return (p for p in (self.dir / "broker").rglob("*") if p.is_file())

    def drop_cache(self):
        """Drops the broker's files out of the page cache; the broker must be stopped, or what it has mapped stays."""
        for p in self.files():
            fd = os.open(p, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)

    def disk(self):
        """Bytes really allocated below the data folder."""
        return sum(size_of(p) for p in self.files())


def size_of(path):
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0  # a broker removes and renames its files


def last_line(out):
    """The last JSON line of an output."""
    lines = [l for l in out.splitlines() if l.startswith("{")]
    return json.loads(lines[-1]) if lines else None
