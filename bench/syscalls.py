"""System calls per message: strace counts them while a load runs once more. It slows the server, so only the counts are kept."""
import signal, subprocess, tempfile, time

SECONDS = 2


def count(s, mode, options):
    """Calls per message in all, and of the five most frequent."""
    with tempfile.NamedTemporaryFile("r") as table:
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", table.name, "-p", str(s.broker.pid)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        tracer.stderr.readline()  # it says when it has attached
        time.sleep(0.2)
        result = s.load(mode, **dict(options, seconds=SECONDS, warmup=0))
        tracer.send_signal(signal.SIGINT)
        tracer.wait(60)
        calls = parse(table.read())
    messages = result and (result.get("all_msgs") or result.get("sent"))
    if not messages:
        return {}
    most = sorted(calls, key=calls.get, reverse=True)[:5]
    return {"syscalls_per_msg": sum(calls.values()) / messages,
            "syscalls": {name: round(calls[name] / messages, 4) for name in most}}


def parse(table):
    """Calls by name from the summary of strace: `% time, seconds, usecs/call, calls, [errors,] name`."""
    rows = (l.split() for l in table.splitlines())
    return {r[-1]: int(r[3]) for r in rows if len(r) >= 5 and r[3].isdigit() and r[-1] != "total"}
