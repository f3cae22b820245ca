"""What is measured: every cell by name, and which cells are a set. Names stay as they are: results are compared by them."""
from dataclasses import dataclass, field
from typing import Callable

import pairs, scenes

ALL, BROKERS, OURS = ("java", "floor", "barque"), ("java", "barque"), ("barque",)


@dataclass(frozen=True)
class Load:
    """One run of the load generator."""
    name: str
    mode: str
    options: dict
    # Kinds of servers it means something for.
    on: tuple = ALL
    # Topic, size and number of messages that must be there before.
    needs: tuple = ()


@dataclass(frozen=True)
class Scene:
    """What takes more than one run: called with the server, the options and a function that keeps a result under a name."""
    name: str
    play: Callable
    on: tuple = BROKERS


@dataclass(frozen=True)
class Session:
    """Cells that share one start of the broker. Without `start` its scenes start it themselves."""
    cells: list = field(default_factory=list)
    flush: str = "ASYNC_FLUSH"
    conf: str = ""
    start: bool = True
    # The footprint is measured idle and after the load.
    footprint: bool = False


def produce(size, conns, window, **more):
    return Load(f"produce {size}B c{conns} w{window}", "produce",
                dict(size=size, conns=conns, window=window, topic=f"p{size}", **more))


BINARY = Load("binary header 1024B c16 w32", "produce",
              dict(size=1024, conns=16, window=32, topic="p1024", serializer="binary"), BROKERS)
E2E = [Load("e2e 1000/s 1024B", "e2e", dict(rate=1000, size=1024, warmup=3), BROKERS),
       Load("e2e 20000/s 1024B", "e2e", dict(rate=20_000, size=1024, warmup=3, topic="fast"), BROKERS)]
HOT = [Load(f"consume hot {size}B max32", "consume", dict(topic=topic, max=32, conns=4, threads=2), BROKERS,
            (topic, size, messages)) for size, topic, messages in ((128, "hot128", 2_000_000), (1024, "hot1k", 500_000))]
POP = Load("pop and ack 1024B max32 c4 w4", "pop", dict(topic="pops", max=32, conns=4, window=4, warmup=1), BROKERS,
           ("pops", 1024, 500_000))
MANY = Load("topics 1000 128B c16 w32", "topics", dict(topics=1000, size=128, conns=16, window=32, topic="many"))
COLD = Scene("consume cold 1024B max32", scenes.cold)
OVERLOAD = [produce(size, conns, 256) for size in (1024, 128) for conns in (16, 64)]
SYNC = [Load(f"sync-flush 1024B c{conns} w{window}", "produce", dict(size=1024, conns=conns, window=window, topic="psync"))
        for conns, window in ((1, 1), (16, 1), (64, 1), (16, 32))]
SYNC_BATCH = Load("sync-flush batch32 1024B c4 w1", "batch", dict(size=1024, conns=4, window=1, topic="psync"))


def batches():
    return [Load(f"batch32 {size}B c4 w4", "batch", dict(size=size, conns=4, window=4, topic=topic))
            for size, topic in ((128, "pbatch"), (1024, "pbatch1k"))]


def consumes():
    """Of what the batches have stored."""
    return [Load(f"consume {size}B max{most}", "consume", dict(topic=topic, max=most, conns=4, threads=2), BROKERS,
                 (topic, size, 500_000))
            for size, topic, most in ((128, "pbatch", 32), (1024, "pbatch1k", 32), (1024, "pbatch1k", 1024))]


def quick():
    cells = [produce(*c) for c in ((128, 1, 1), (1024, 1, 1), (128, 16, 32), (1024, 16, 32), (4096, 16, 32), (1024, 64, 1))]
    return [Session(cells + batches() + [BINARY] + consumes() + [E2E[0], MANY], footprint=True)]


def full():
    cells = [produce(size, conns, window) for size in (128, 1024, 4096) for conns in (1, 16, 64) for window in (1, 32, 256)]
    return [Session(cells + batches() + [BINARY] + consumes() + [E2E[0], MANY], footprint=True)]


def sync(footprint=True):
    return [Session([Scene("disk", scenes.disk, OURS)] + SYNC + [SYNC_BATCH], flush="SYNC_FLUSH", footprint=footprint)]


def consume():
    held = [Load("held 1000 pulls, 200 msg/s", "held", dict(pulls=1000, queues=1000, conns=10, rate=200, topic="h1"), BROKERS),
            Load("held 100000 pulls, 20 msg/s", "held", dict(pulls=100_000, queues=10_000, conns=100, rate=20, topic="h2"), BROKERS),
            Load("10000 groups x topics", "groups", dict(groups=10_000, queues=4, conns=100), BROKERS)]
    return [Session(HOT + [POP] + E2E + held + [COLD], footprint=True)]


def due(mode):
    """The sends are spread so thinly that both servers keep up with them; all is due in one second."""
    cells = [Load(f"{mode} {n} due in 1 s, 256B", mode, dict(messages=n, spread=spread, size=256, topic=f"d{n}"), BROKERS)
             for n, spread in ((1000, 2), (10_000, 5), (100_000, 40))]
    # Level n is n seconds.
    levels = "messageDelayLevel=" + " ".join(f"{n}s" for n in range(1, 61)) if mode == "delay" else ""
    return [Session(cells, conf=levels, footprint=True)]


def transaction():
    return [Session([Load(f"transactions 1024B c{conns} w{window}", "transaction",
                          dict(size=1024, conns=conns, window=window, topic="tx"), BROKERS)
                     for conns, window in ((1, 1), (16, 1), (16, 32), (64, 1))], footprint=True)]


def goals():
    """What barque has promised against the Java broker and the floor: see goals.py."""
    sends = [produce(*c) for c in ((128, 1, 1), (128, 16, 32), (1024, 16, 32), (4096, 16, 32), (1024, 64, 1))]
    return [Session(sends + batches() + [BINARY] + OVERLOAD + HOT + E2E, footprint=True),
            Session([COLD]),
            *sync(footprint=False),
            Session([Scene("topics", scenes.topics, ALL)]),
            Session([Scene("official clients", scenes.official)]),
            Session([Scene("million queues", scenes.million, OURS)], conf="consumeQueueLayout=compact", start=False)]


def alone(scene):
    return [Session([scene], start=False)]


SETS = {
    "quick": quick, "full": full, "sync": sync, "consume": consume, "transaction": transaction, "goals": goals,
    "delay": lambda: due("delay"), "timer": lambda: due("timer"),
    "inflight": lambda: alone(Scene("inflight", scenes.inflight)),
    "replicas": lambda: alone(Scene("replicas", pairs.replicas)),
    "none": lambda: [],
}
