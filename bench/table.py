"""Results as markdown: a row for each cell, the footprint, the goals. Medians of the rounds."""
import statistics

import goals

# Cells that are rows of the second table, or nothing for a table.
APART = ("start", "end", "recovery", "sends", "inflight", "million", "catch-up")

FOOTPRINT = [
    ("start", "accepted_s", "start to first accepted send, s"), ("start", "start_cpu_s", "start: CPU s"),
    ("start", "idle_cores", "idle CPU, cores"), ("start", "rss_idle_mib", "idle RSS, MiB"),
    ("start", "anon_idle_mib", "idle RSS without mapped files, MiB"), ("end", "rss_after_mib", "RSS after load, MiB"),
    ("end", "anon_after_mib", "RSS after load without mapped files, MiB"), ("recovery", "messages", "recovery: messages stored"),
    ("recovery", "after", "recovery: messages after kill -9"), ("recovery", "restart_s", "recovery: restart to accepted send, s"),
    ("recovery", "restart_cpu_s", "recovery: restart CPU s"), ("recovery", "disk_bytes_per_msg", "disk bytes per 128 B message"),
    *(("sends", f"send_{q}_us {way}", f"1000 sends/s: {q} us {text}") for q in ("p50", "p99", "max")
      for way, text in (("alone", "alone"), ("beside", "beside a cold reader"))),
    *((f"held {n}", f, f"{n}: {w}") for n in ("1000 pulls, 200 msg/s", "100000 pulls, 20 msg/s")
      for f, w in (("p50_us", "wake-up p50 us"), ("p99_us", "wake-up p99 us"), ("bytes_per_held_pull", "bytes each"),
                   ("holding_cores", "CPU while nothing happens, cores"), ("errors", "refused"))),
    *(("10000 groups x topics", f, f"10000 groups x topics: {w}")
      for f, w in (("anon_after_mib", "RSS without mapped files, MiB"), ("bytes_per_group_and_topic", "bytes each"),
                   ("topics_s", "seconds to create the topics"), ("members_s", "seconds for the members to join"),
                   ("commits_per_s", "commits/s, one at a time"), ("idle_cores", "CPU afterwards, cores"))),
    *(("inflight", f, f"in flight: {w}") for f, w in (
        ("popped", "messages popped"), ("pops_per_s", "messages/s"), ("cpu_us_per_msg", "CPU us each"),
        ("rss_mib", "RSS, MiB"), ("anon_bytes_each", "bytes each, without mapped files"), ("stop_s", "stop, s"),
        ("restart_s after stop", "restart to accepted send, s"), ("restart_s after kill", "the same after kill -9"),
        ("came again after stop", "messages that came again"), ("came again after kill", "the same after kill -9"))),
    *(("million", f, f"million queues: {w}") for f, w in (
        ("queues", "queues"), ("create_s", "seconds to make them"), ("fill_s", "seconds for a message in each"),
        ("rss_filled_mib", "RSS, MiB"), ("anon_filled_mib", "RSS without mapped files, MiB"), ("stop_s", "stop, s"),
        ("restart_s after stop", "restart to accepted send, s"), ("anon_mib after stop", "RSS without mapped files then, MiB"),
        ("anon_mib loaded after stop", "the same when sent to"), ("restart_s after kill", "restart after kill -9, s"),
        ("anon_mib after kill", "RSS without mapped files then, MiB"), ("disk_bytes_per_queue", "disk bytes per queue"))),
]


# Cores that others may use beside a run; what the kernel writes for it is among them.
OTHERS_MAX = 0.5


def undisturbed(results):
    """Those beside which nobody else was busy, if there are any."""
    return [r for r in results if r.get("other_cores", 0) <= OTHERS_MAX] or results


class Tables:
    def __init__(self, results, names):
        self.results, self.names = results, names
        rounds = [cells for name in names for cells in [results.get(name, {})]]
        self.cells = list(dict.fromkeys(cell for cells in rounds for cell in cells))

    def median(self, name, cell, field):
        v = [r[field] for r in undisturbed(self.results.get(name, {}).get(cell, [])) if r.get(field) is not None]
        # Memory after load is taken each time the store is removed: the most counts.
        pick = max if cell == "end" else statistics.median
        return pick(v) if v else None

    def each(self, cell, field, digits, scale=1):
        """The figure of every server in one column."""
        values = [self.median(n, cell, field) for n in self.names]
        if all(v is None for v in values):
            return "-"
        return " / ".join("-" if v is None else f"{v * scale:.{digits}f}" for v in values)

    def ratio(self, a, b, cell):
        a, b = (self.median(n, cell, "server_cpu_us_per_msg") for n in (a, b))
        return "-" if not a or not b else f"{a / b:.2f}"

    def pairs(self):
        """The ratios of CPU that are shown: what the first costs over what the second costs."""
        usual = [(a, b) for a, b in (("java", "barque"), ("barque", "floor")) if a in self.names and b in self.names]
        return usual or [(self.names[0], b) for b in self.names[1:]]

    def loads(self):
        """One row for each cell; a figure of each server, in the order of the head, parted by slashes."""
        servers = " / ".join(self.names)
        head = [f"cell ({servers})", "CPU µs/msg"] + [f"CPU {a} : {b}" for a, b in self.pairs()]
        fields = [("p50 ms", "p50_us", 3, 1e-3), ("p99 ms", "p99_us", 3, 1e-3), ("p99.9 ms", "p999_us", 3, 1e-3),
                  ("msg/s", "msgs_per_s", 0, 1), ("refused", "errors", 0, 1), ("load generator, cores", "loadgen_cores", 2, 1)]
        fields += [(title, field, digits, scale) for title, field, digits, scale in (
            ("max ms", "max_us", 1, 1e-3), ("ordinary send p99 ms", "ordinary_p99_us", 3, 1e-3), ("system calls/msg", "syscalls_per_msg", 3, 1))
            if self.shows(field)]
        cells = [c for c in self.cells if c not in APART and not c.startswith(("(", "held", "10000 groups"))]
        if cells:
            print("\n" + row(head + [t for t, *_ in fields]) + "\n|" + "---|" * (len(head) + len(fields)))
        for cell in cells:
            print(row([cell, self.each(cell, "server_cpu_us_per_msg", 2)] + [self.ratio(a, b, cell) for a, b in self.pairs()]
                      + [self.each(cell, f, d, s) for _, f, d, s in fields]))

    def disturbed(self):
        """Names the cells of which no round was undisturbed: their figures are worth little."""
        cells = [f"{name} {cell}" for name in self.names for cell, runs in self.results.get(name, {}).items()
                 if not cell.startswith("(") and undisturbed(runs)[0].get("other_cores", 0) > OTHERS_MAX]
        if cells:
            print(f"\nOthers used more than {OTHERS_MAX} cores beside: {', '.join(cells)}.")

    def shows(self, field):
        """Only the sets that are about it have these columns."""
        if field == "max_us":
            return any(c.startswith(("delay", "timer")) for c in self.cells)
        return any(field in r for cells in self.results.values() for some in cells.values() for r in some)

    def footprint(self):
        rows = []
        for cell, field, text in FOOTPRINT:
            values = [self.median(n, cell, field) for n in self.names]
            if any(v is not None for v in values):
                rows.append(row([text] + ["-" if v is None else f"{v:.2f}" for v in values]))
        if rows:
            print("\n" + row(["footprint", *self.names]) + "\n|---|" + "---|" * len(self.names) + "\n" + "\n".join(rows))

    def goals(self):
        rows = goals.verdicts(self.median)
        if rows:
            met = sum(verdict == "met" for *_, verdict in rows)
            print(f"\n| goal ({met} of {len(rows)} met) | wanted | measured | verdict |\n|---|---|---|---|")
            print("\n".join(row(r) for r in rows))


def row(columns):
    return "| " + " | ".join(columns) + " |"
