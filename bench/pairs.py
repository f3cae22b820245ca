"""A master and a slave: what synchronous replication costs, and what catching up does to whoever sends meanwhile."""
import json, shutil, socket, struct, time

from server import Server, last_line


def log_end(port):
    """Where the log of the broker at a port ends (request 28)."""
    header = json.dumps(dict(code=28, flag=0, language="JAVA", opaque=1, version=493, serializeTypeCurrentRPC="JSON")).encode()
    with socket.create_connection(("127.0.0.1", port), 5) as c:
        c.sendall(struct.pack(">II", 4 + len(header), len(header)) + header)
        answer = c.makefile("rb")
        size, head = struct.unpack(">II", answer.read(8))
        answer.read(head & 0xFFFFFF)
        return int(json.loads(answer.read(size - 4 - (head & 0xFFFFFF)))["table"]["commitLogMaxOffset"])


def in_step(master, slave, timeout=300):
    """The seconds until a slave has the log of its master as it is now; None when that takes too long."""
    began, end = time.time(), None
    while time.time() - began < timeout:
        try:
            # The reference does not know this for some seconds after its start.
            end = end or log_end(master.port)
            if log_end(slave.port) >= end:
                return time.time() - began
        except (OSError, ValueError, KeyError, struct.error):
            pass
        time.sleep(0.05)
    return None


class Pair:
    def __init__(self, master):
        self.master = master
        self.slave = Server(master.name + "-slave", master.script, master.dir.parent, master.port + 500, master.ns_port,
                            master.loadgen)

    def start(self, role):
        # A SYNC_MASTER accepts nothing until its slave is there.
        self.master.conf = "brokerRole=ASYNC_MASTER"
        self.master.start()
        self.follow(fresh=True)
        in_step(self.master, self.slave)
        if role != "ASYNC_MASTER":
            self.master.stop()
            self.master.conf = f"brokerRole={role}\\ninSyncReplicas=2"
            self.master.start(fresh=False)
            in_step(self.master, self.slave)

    def follow(self, fresh):
        self.slave.conf = "brokerRole=SLAVE\\nbrokerId=1\\ninSyncReplicas=2"
        if fresh:
            shutil.rmtree(self.slave.dir / "broker", ignore_errors=True)
        self.slave.broker = self.slave.spawn("broker", self.slave.port)

    def stop(self):
        self.slave.stop()
        self.master.stop()

    def load(self, mode, **options):
        """A load, and what it costs the slave."""
        cpu = self.slave.cpu()
        r = self.master.load(mode, **options)
        if not r:
            return None
        in_step(self.master, self.slave)
        r["slave_cpu_us_per_msg"] = 1e6 * (self.slave.cpu() - cpu) / max(1, r["all_msgs"])
        return {k: r[k] for k in ("msgs_per_s", "p50_us", "p99_us", "p999_us", "server_cpu_us_per_msg", "slave_cpu_us_per_msg", "errors")
                if k in r}

    def warm(self, seconds):
        until, last = time.time() + seconds, None
        while time.time() < until:
            r = self.load("produce", size=1024, conns=16, window=8, seconds=5, warmup=0, topic="warm")
            if r and last and not r["errors"] and r["server_cpu_us_per_msg"] > 0.93 * last:
                break
            last = r and r["server_cpu_us_per_msg"]


def replicas(s, options, keep):
    pair = Pair(s)
    try:
        pair.start("SYNC_MASTER")
        pair.warm(options.warm)
        for conns, window in ((1, 1), (64, 1), (16, 32)):
            keep(f"sync-master 1024B c{conns} w{window}",
                 pair.load("produce", size=1024, conns=conns, window=window, seconds=options.seconds, warmup=2, topic="p"))
        pair.stop()
        catch_up(pair, options.seconds, keep)
    finally:
        pair.stop()
        pair.slave.remove()


def catch_up(pair, sec, keep):
    """A slave that was away while its master took much, with 1 000 sends a second going on."""
    s, slave = pair.master, pair.slave
    pair.start("ASYNC_MASTER")
    s.load("produce", size=1024, conns=4, window=8, seconds=5, warmup=0, topic="warm")
    in_step(s, slave)
    slave.stop()
    from_ = log_end(s.port)
    s.load("batch", size=1024, conns=4, window=4, topic="away", messages=1_500_000, warmup=0, seconds=300)
    s.load("e2e", rate=1000, size=1024, seconds=5, warmup=1, topic="sends")
    alone = s.load("e2e", rate=1000, size=1024, seconds=2 * sec, warmup=2, topic="sends")
    behind, cpu = log_end(s.port) - from_, s.cpu()
    pair.follow(fresh=False)
    sends = s.spawn_load("e2e", rate=1000, size=1024, seconds=2 * sec, warmup=0, topic="sends")
    took = in_step(s, slave)
    cost, cost_slave = s.cpu() - cpu, slave.cpu()
    beside = last_line(sends.communicate()[0])
    if took and alone and beside:
        keep("catch-up", {"GB behind": behind / 1e9, "s": took, "MB/s": behind / 1e6 / took,
                          "master CPU s": cost, "slave CPU s": cost_slave,
                          "send_p50_us alone": alone["send_p50_us"], "send_p99_us alone": alone["send_p99_us"],
                          "send_p50_us beside": beside["send_p50_us"], "send_p99_us beside": beside["send_p99_us"]})
