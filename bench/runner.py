"""Runs the sessions of a set on one server and keeps what they give. A cell that fails does not end the run."""
import fnmatch, json, os, time, traceback

import syscalls
from cells import Load

# A store larger than this is removed before the next cell: the disk never fills, and what it has to write behind is bounded.
STORE_BYTES_MAX = 6 << 30


class Results:
    """Everything measured: kept in order by server and cell, printed and written to a file line by line."""
    def __init__(self, path):
        self.out = open(path, "a")
        # By server name, then cell: the results of all rounds.
        self.all = {}

    def keep(self, server, cell, result):
        if not result:
            return
        self.all.setdefault(server.name, {}).setdefault(cell, []).append(result)
        line = dict(server=server.name, kind=server.kind, flush=server.flush, cell=cell, **result)
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()
        if "mode" not in result:
            print(f"{server.name:>12} {cell}: {result}", flush=True)
            return
        print(f"{server.name:>12} {cell:<34} {result.get('msgs_per_s', 0):>10.0f}/s  p99 {result.get('p99_us', 0) / 1000:>8.2f} ms "
              f" {result.get('server_cpu_us_per_msg', 0):>8.2f} us/msg  err {result.get('errors', 0)} "
              f" loadgen {result.get('loadgen_cores', 0):.2f}  others {result.get('other_cores', 0):.1f}", flush=True)


class Runner:
    def __init__(self, options, results):
        self.options, self.results = options, results

    def wanted(self, name):
        patterns = self.options.cells
        return not patterns or any(fnmatch.fnmatch(name, p if "*" in p else f"*{p}*") for p in patterns.split(","))

    def session(self, s, session):
        """One start of the broker and its cells; whatever happens, nothing of it is left."""
        cells = [c for c in session.cells if s.kind in c.on and self.wanted(c.name)]
        footprint = session.footprint and self.wanted("footprint") and any(s.kind in c.on for c in session.cells)
        if not cells and not footprint:
            return
        s.flush, s.conf = session.flush, session.conf
        try:
            if session.start:
                self.begin(s, footprint)
            for cell in cells:
                self.guarded(s, session, cell)
            if footprint:
                self.after_load(s)
        except Exception:
            traceback.print_exc()
        finally:
            s.stop()
            s.remove()

    def keep(self, s):
        return lambda cell, result: self.results.keep(s, cell, result)

    def begin(self, s, footprint):
        up = s.start()
        if footprint:
            time.sleep(8)
            cpu = s.cpu()
            time.sleep(10)
            rss, anon = s.memory()
            self.results.keep(s, "start", dict(accepted_s=up["accepted_s"], start_cpu_s=up["cpu_s"], rss_idle_mib=rss,
                                               anon_idle_mib=anon, idle_cores=(s.cpu() - cpu) / 10))
        self.warm(s)

    def warm(self, s):
        """A JVM gets cheaper per message as it compiles: loads it until that has stopped, or the time is over."""
        jit = s.kind == "java"
        last, until = None, time.time() + self.options.warm
        while time.time() < until:
            r = s.load("produce", size=1024, conns=4, window=8, seconds=5 if jit else 1, warmup=0, topic="warm")
            self.results.keep(s, "(warm-up)", r)
            s.load("consume", topic="warm", seconds=1, warmup=0)
            cost = r and r["msgs"] and r["server_cpu_us_per_msg"]
            if not jit or last and cost and cost > 0.93 * last and r["msgs"] > 20000:
                return
            last = cost

    def guarded(self, s, session, cell):
        try:
            if session.start:
                self.make_room(s)
            self.cell(s, cell)
        except Exception:
            print(f"# {s.name} {cell.name}: failed", flush=True)
            traceback.print_exc()
        if session.start and not s.alive():
            s.start()
            self.warm(s)

    def make_room(self, s):
        if s.disk() > STORE_BYTES_MAX:
            self.after_load(s)
            s.stop()
            s.start()
            self.warm(s)

    def after_load(self, s):
        time.sleep(3)
        if s.alive():
            rss, anon = s.memory()
            self.results.keep(s, "end", dict(rss_after_mib=rss, anon_after_mib=anon))

    def cell(self, s, cell):
        if not isinstance(cell, Load):
            return cell.play(s, self.options, self.keep(s))
        if cell.needs:
            s.fill(*cell.needs)
        # What others left to be written is not paid for here.
        os.sync()
        options = dict(dict(seconds=self.seconds(cell), warmup=min(2, self.options.seconds)), **cell.options)
        result = s.load(cell.mode, **options)
        try:
            if result and self.options.syscalls:
                result.update(syscalls.count(s, cell.mode, options))
        finally:
            # What was measured stands also where strace is missing, or fails.
            self.results.keep(s, cell.name, result)

    def seconds(self, cell):
        return self.options.seconds * (2 if cell.mode == "held" else 1)
