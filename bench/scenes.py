"""What takes more than one run of the load generator. Each is called with a server, the options and where to keep results."""
import resource, time

from clients import official  # noqa: F401: a scene as well

MIB = 2**20


def cold(s, options, keep):
    """Reading what is not in the page cache, and what that does to whoever sends meanwhile."""
    s.fill("cold", 1024, options.cold)
    s.fill("hot1k", 1024, 500_000)

    def again():
        """A broker whose files are out of the cache, warmed up on others."""
        s.stop()
        s.drop_cache()
        s.start(fresh=False)
        s.load("consume", topic="hot1k", seconds=4, warmup=0)
        s.load("e2e", rate=1000, size=1024, seconds=5, warmup=1, topic="sends")

    read = dict(topic="cold", max=32, conns=4, warmup=0, seconds=120, again="false")
    again()
    whole = s.load("consume", **read)
    keep("consume cold 1024B max32", whole)
    again()
    # As long as the reader has something to read, and no longer.
    sends = dict(rate=1000, size=1024, seconds=max(1, min(2 * options.seconds, 0.7 * whole["seconds"])), warmup=0.3, topic="sends")
    alone = s.load("e2e", **sends)
    reader = s.spawn_load("consume", **read)
    beside = s.load("e2e", **sends)
    took = reader.poll() is not None
    reader.kill()
    reader.wait()
    if alone and beside:
        keep("sends", {"send_p50_us alone": alone["send_p50_us"], "send_p99_us alone": alone["send_p99_us"],
                       "send_p50_us beside": beside["send_p50_us"], "send_p99_us beside": beside["send_p99_us"],
                       "send_max_us alone": alone["send_max_us"], "send_max_us beside": beside["send_max_us"],
                       "reader ended early": took})


def inflight(s, options, keep, messages=1_000_000):
    """Pops a million messages and acknowledges none, then starts again, after a stop and after kill -9."""
    s.start()
    s.fill("flight", 128, messages)
    time.sleep(3)
    rss, anon = s.memory()
    # A stop of the reference puts off what it holds for a while: nothing may come due meanwhile.
    popped = s.load("pop", topic="flight", max=32, conns=4, window=4, warmup=0, seconds=300, ack="never",
                    invisible=3_600_000, messages=messages)
    time.sleep(3)
    res = dict(popped=popped and popped["all_msgs"], pops_per_s=popped and popped["msgs_per_s"],
               cpu_us_per_msg=popped and popped["server_cpu_us_per_msg"], rss_mib=s.memory()[0],
               anon_bytes_each=(s.memory()[1] - anon) * MIB / max(1, (popped or {}).get("all_msgs", 1)))
    for way, hard in (("stop", False), ("kill", True)):
        began = time.time()
        s.stop(hard=hard)
        res[f"{way}_s"] = time.time() - began
        up = s.start(fresh=False)
        time.sleep(3)
        res[f"restart_s after {way}"] = up["accepted_s"]
        res[f"cpu_s after {way}"] = up["cpu_s"]
        res[f"anon_mib after {way}"] = s.memory()[1]
        # All of it is with somebody.
        again = s.load("pop", topic="flight", max=32, conns=1, window=1, warmup=0, seconds=10, messages=1000)
        res[f"came again after {way}"] = again and again["all_msgs"]
    keep("inflight", res)


def recovery(s, options, keep):
    """Fill, kill -9, start again: time to the first accepted send and whether everything is still there."""
    s.start()
    before = s.disk()
    r = s.load("batch", size=128, conns=4, window=4, warmup=0, seconds=900, messages=int(options.recovery * 1e6), topic="fill")
    time.sleep(3)
    had = s.load("count", topic="fill")
    disk = s.disk() - before
    s.stop(hard=True)
    up = s.start(fresh=False)
    seen, deadline = s.load("count", topic="fill"), time.time() + 120
    t = time.time()
    while seen and had and seen["messages"] < had["messages"] and time.time() < deadline:
        time.sleep(0.2)
        seen = s.load("count", topic="fill")
    keep("recovery", dict(messages=had and had["messages"], acked=r and r["all_msgs"], after=seen and seen["messages"],
                          restart_s=up["accepted_s"], restart_cpu_s=up["cpu_s"], rebuilt_s=time.time() - t,
                          disk_bytes_per_msg=disk / max(1, (had or {}).get("messages", 1))))


# What a message of 1 KiB takes in the log: 91 bytes of fields, the topic and the properties of a default client.
RECORD = 91 + 1024 + len("psync") + 52


def disk(s, options, keep):
    """The disk's own append and fdatasync, of what a send and a batch of 32 write."""
    for records in (1, 32):
        for way in ("sparse", "allocated", "growing"):
            r = s.load("disk", dir=s.dir / "broker", bytes=records * RECORD, way=way, seconds=min(3, options.seconds))
            keep(f"disk append+fdatasync {records} x {RECORD}B {way}", r)


def topics(s, options, keep):
    """Sends to many topics, next to sends to one, of as many queues each."""
    load = dict(size=128, conns=16, window=32, seconds=options.seconds, warmup=min(2, options.seconds))
    keep("topics 1x4 128B c16 w32", s.load("produce", queues=4, topic="one", **load))
    many = topics_for(s, options.topics)
    r = s.load("topics", topics=many, each=4, create="lists", topic="ten", **load)
    keep("topics 10000x4 128B c16 w32", r)
    if many < options.topics:
        print(f"# {s.name}: {many} topics instead of {options.topics}: it holds each queue's file open", flush=True)


def topics_for(s, topics):
    """The Java broker keeps a descriptor for each queue that was written to."""
    if s.kind != "java":
        return topics
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(topics, (most - 2000) // 4)


def million(s, options, keep):
    """A million queues with a message each: sending and pulling over all of them, memory, and two restarts."""
    each = 16
    many = dict(topic="m", topics=options.queues // each, each=each)
    load = dict(size=128, conns=16, window=32, seconds=options.seconds, warmup=min(2, options.seconds))
    pull = dict(load, max=1)
    res = dict(queues=many["topics"] * each, accepted_s=s.start()["accepted_s"])

    def one_topic():
        keep("one topic: send 128B c16 w32", s.load("produce", topic="one", **load))
        keep("one topic: pull max1 c16 w32", s.load("sweep", topic="one", **pull))

    one_topic()
    made = s.load("topics", create="lists", **many, **dict(load, messages=res["queues"], seconds=300, warmup=0))
    res.update(create_s=made["create_topic_ms"] * made["topics"] / 1000, fill_s=made["seconds"], filled=made["all_msgs"])
    res.update(rss_filled_mib=s.memory()[0], anon_filled_mib=s.memory()[1], disk_bytes_per_queue=s.disk() / res["queues"])
    keep("million queues: send 128B c16 w32", s.load("topics", create="no", **many, **load))
    keep("million queues: pull max1 c16 w32", s.load("sweep", **many, **pull))
    # Before and after: a machine is not equally fast all the time.
    one_topic()
    for way, hard in (("stop", False), ("kill", True)):
        began = time.time()
        s.stop(hard=hard)
        res[f"{way}_s"] = time.time() - began
        up = s.start(fresh=False)
        res[f"restart_s after {way}"] = up["accepted_s"]
        res[f"anon_mib after {way}"] = s.memory()[1]
        keep(f"million queues: send after {way}", s.load("topics", create="no", **many, **load))
        res[f"anon_mib loaded after {way}"] = s.memory()[1]
    keep("million", res)
