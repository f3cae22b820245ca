"""What barque has promised, and whether the results of a run keep it."""
from dataclasses import dataclass

CPU, RATE, P50, P99 = "server_cpu_us_per_msg", "msgs_per_s", "p50_us", "p99_us"


@dataclass(frozen=True)
class Goal:
    """A figure of barque, alone or over that of a cell of some server, is at most or at least a bound."""
    what: str
    cell: str
    field: str
    most: float = None
    least: float = None
    # The server and cell that it is divided by; the cell is the same when it is empty.
    over: str = ""
    over_cell: str = ""
    over_field: str = ""
    # What that is called, if not as the server.
    of: str = ""
    unit: str = ""


def cpu(what, cell, times, over="java"):
    return Goal(f"{what}: CPU", cell, CPU, most=times, over=over)


def rate(what, cell, times):
    return Goal(f"{what}: throughput", cell, RATE, least=times, over="java")


def sends():
    return [cpu("128 B 16x32", "produce 128B c16 w32", 1 / 8), cpu("128 B 16x32", "produce 128B c16 w32", 3, "floor"),
            rate("128 B 16x32", "produce 128B c16 w32", 5),
            cpu("1 KiB 16x32", "produce 1024B c16 w32", 1 / 6), cpu("1 KiB 64x1", "produce 1024B c64 w1", 1 / 5),
            cpu("4 KiB 16x32", "produce 4096B c16 w32", 1 / 4),
            cpu("128 B 1x1", "produce 128B c1 w1", 1 / 4), cpu("128 B 1x1", "produce 128B c1 w1", 1.5, "floor"),
            Goal("128 B 1x1: p50", "produce 128B c1 w1", P50, most=1.5, over="floor"),
            cpu("batches 128 B", "batch32 128B c4 w4", 1 / 6), cpu("batches 1 KiB", "batch32 1024B c4 w4", 1 / 6)]


def overload():
    goals = []
    for size, conns in ((1024, 16), (1024, 64), (128, 16), (128, 64)):
        what, cell = f"overload {size} B {conns}x256", f"produce {size}B c{conns} w256"
        goals += [Goal(f"{what}: refused", cell, "errors", most=0), rate(what, cell, 3),
                  Goal(f"{what}: p99 of the accepted", cell, P99, most=1 / 5, over="java")]
    return goals


def sync():
    goals = [Goal("SYNC 1x1: p50 over the disk's own", "sync-flush 1024B c1 w1", P50, most=1.2, over="barque",
                  over_cell="disk append+fdatasync 1 x 1172B sparse", of="the disk")]
    for what, cell, times in (("1x1", "1024B c1 w1", 0), ("64x1", "1024B c64 w1", 2), ("16x32", "1024B c16 w32", 4),
                              ("batch 32", "batch32 1024B c4 w1", 3)):
        goals.append(cpu(f"SYNC {what}", f"sync-flush {cell}", 1 / 5))
        if times:
            goals.append(rate(f"SYNC {what}", f"sync-flush {cell}", times))
    return goals


def reads():
    goals = []
    for size in (128, 1024):
        cell = f"consume hot {size}B max32"
        goals += [cpu(f"consume hot {size} B", cell, 1 / 3), rate(f"consume hot {size} B", cell, 2)]
    goals.append(Goal("sends beside a cold reader: p99 over alone", "sends", "send_p99_us beside", most=2, over="barque",
                      over_field="send_p99_us alone", of="alone"))
    for speed in (1000, 20000):
        cell = f"e2e {speed}/s 1024B"
        goals += [Goal(f"e2e {speed}/s: p50", cell, P50, most=300, unit="us"), Goal(f"e2e {speed}/s: p99", cell, P99, most=1500, unit="us"),
                  cpu(f"e2e {speed}/s", cell, 1 / 4)]
    return goals


def scale():
    goals = [Goal("10,000 topics: CPU over one topic's", "topics 10000x4 128B c16 w32", CPU, most=1.2, over="barque",
                  over_cell="topics 1x4 128B c16 w32", of="one topic")]
    for way in ("stop", "kill"):
        goals += [Goal(f"million queues: restart after {way}", "million", f"restart_s after {way}", most=3, unit="s"),
                  Goal(f"million queues: memory after {way}", "million", f"anon_mib loaded after {way}", most=1024, unit="MiB")]
    goals.append(Goal("million queues: memory when filled", "million", "anon_filled_mib", most=1024, unit="MiB"))
    for what in ("send 128B c16 w32", "pull max1 c16 w32"):
        goals.append(Goal(f"million queues: {what}, CPU over one topic's", f"million queues: {what}", CPU, most=1.5, over="barque",
                          over_cell=f"one topic: {what}", of="one topic"))
    return goals


def footprint():
    return [rate("official producers", "official producers 128B 64 threads", 1.3),
            rate("official consumers", "official consumers 128B 64 threads", 1.3),
            Goal("start to first accepted send", "start", "accepted_s", most=0.15, unit="s"),
            Goal("idle CPU", "start", "idle_cores", most=0.005, unit="cores"),
            Goal("idle memory", "start", "anon_idle_mib", most=30, unit="MiB"),
            Goal("memory after load", "end", "anon_after_mib", most=150, unit="MiB"),
            Goal("restart after kill -9", "recovery", "restart_s", most=1, unit="s")]


def verdicts(median):
    """A row for each goal that was measured; `median(server, cell, field)` gives a figure or None."""
    rows = []
    for g in sends() + overload() + sync() + reads() + scale() + footprint():
        value = median("barque", g.cell, g.field)
        if g.over:
            base = median(g.over, g.over_cell or g.cell, g.over_field or g.field)
            value = None if value is None or not base else value / base
        if value is not None:
            rows.append((g.what, wanted(g), shown(value, g), verdict(value, g)))
    return rows


def wanted(g):
    bound, word = (g.most, "<=") if g.least is None else (g.least, ">=")
    return f"{word} {shown(bound, g)}"


def shown(value, g):
    """A ratio below 1 is easier to read the other way round."""
    of = g.of or g.over
    if of and 0 < value < 1:
        return f"1/{1 / value:.3g} of {of}"
    figure = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return f"{figure} x {of}" if of else f"{figure} {g.unit}".strip()


def verdict(value, g):
    if g.least is not None:
        return "met" if value >= g.least else f"missed by {100 * (1 - value / g.least):.0f} %"
    if value <= g.most:
        return "met"
    return f"missed by {100 * (value / g.most - 1):.0f} %" if g.most else f"missed by {value:.0f}"
