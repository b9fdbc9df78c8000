#!/usr/bin/env python3
"""Measures servers that the gateway hosts beside one that it only starts: how long one takes until it is ready, what a call
costs once it is, and what an idle one holds in memory.

    benches/hosted.py [--turns 21] [--calls 400] [--places bubblewrap,podman,docker] [--memory 3]

The server is the hostile one of the tests (`tests/hosting`), which starts in a millisecond. A session of an agent that can
be asked something has an instance of its own: its first call is what starting one takes, from the call to the answer, so
what a place takes is what that call takes more than where the same program is only started. The places take turns, each
beside the plain one.

Needs bubblewrap, and for the engines what `tests/setup.sh --engines` installs. Run it as root, as the tests are.
"""

import argparse
import http.client
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
REVISION = "2025-06-18"


def cpu(pid):
    """The processor time of a process so far, in milliseconds."""
    threads = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e6


def of_children(pid):
    """The processor time of what it has started and that has ended, in milliseconds; the kernel counts it in ticks."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * 1000 / os.sysconf("SC_CLK_TCK")


def rollup(pid, field):
    """Kilobytes of a process's memory, of one kind."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0


def descendants(pid):
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        threads = [thread.name for thread in pathlib.Path(f"/proc/{pid}/task").iterdir() if thread.name != str(pid)]
        for thread in threads:
            children += pathlib.Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    except OSError:
        return []
    return [one for child in map(int, children) for one in [child, *descendants(child)]]


class Gateway:
    """A gateway that serves these servers."""

    def __init__(self, options, servers, environment=()):
        self.folder = tempfile.TemporaryDirectory()
        config = pathlib.Path(self.folder.name) / "portcullis.json"
        config.write_text(json.dumps({"version": 1, "servers": servers}))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.log = open(pathlib.Path(self.folder.name) / "log", "w+")
        self.process = subprocess.Popen(
            [options.gateway, "serve", "--listen", f"127.0.0.1:{self.port}", "--config", config,
             "--data-dir", self.folder.name],
            env={"PATH": os.environ["PATH"], "HOME": self.folder.name, "PORTCULLIS_LOG": "warn", **dict(environment)},
            stdout=self.log, stderr=self.log)
        self.pid = self.process.pid
        deadline = time.monotonic() + 120
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                raise SystemExit(f"the gateway is not ready: {self.log.read()}")
            time.sleep(0.02)

    def ready(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.folder.cleanup()


class Session:
    """A session of an agent that can be asked something: its instances are its own."""

    def __init__(self, gateway):
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=120)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.headers = dict(HEADERS)
        self.post({"id": 0, "method": "initialize", "params": {
            "protocolVersion": REVISION, "capabilities": {"elicitation": {}}, "clientInfo": {"name": "bench", "version": "1"}}})
        self.headers["mcp-protocol-version"] = REVISION
        self.post({"method": "notifications/initialized"})

    def post(self, message):
        self.connection.request("POST", "/mcp", json.dumps({"jsonrpc": "2.0", **message}), self.headers)
        response = self.connection.getresponse()
        body = response.read()
        if (session := response.headers.get("mcp-session-id")) is not None:
            self.headers["mcp-session-id"] = session
        if response.status >= 300:
            raise SystemExit(f"{response.status}: {body!r}")
        return body

    def call(self, server):
        """Calls a tool that counts its calls; returns how long that took, in milliseconds."""
        began = time.monotonic()
        body = self.post({"id": 1, "method": "tools/call", "params": {"name": f"{server}__count", "arguments": {}}})
        took = (time.monotonic() - began) * 1000
        if b'"result"' not in body or b'"isError":true' in body:
            raise SystemExit(f"{server}: {body!r}")
        return took

    def end(self):
        self.connection.request("DELETE", "/mcp", headers=self.headers)
        self.connection.getresponse().read()
        self.connection.close()


def middle(values):
    ordered = sorted(values)
    return {"middle": round(statistics.median(ordered), 2), "least": round(ordered[0], 2),
            "quarter": round(ordered[len(ordered) // 4], 2), "most": round(ordered[-1], 2)}


def first_call(gateway, server, calls):
    """One instance: what its start takes, and its calls, in milliseconds, with the gateway's own processor time."""
    session = Session(gateway)
    before = cpu(gateway.pid)
    start = session.call(server)
    used = cpu(gateway.pid) - before
    session.call(server)
    before, began = cpu(gateway.pid), time.monotonic()
    warm = [session.call(server) for _ in range(calls)]
    each = (cpu(gateway.pid) - before) / calls
    session.end()
    return {"start": start, "start_cpu": used, "call": statistics.median(warm), "call_cpu": each}


def starts(options, place, servers, environment):
    """What starting and calling takes at a place, beside where the same program is only started, in turn."""
    began = time.monotonic()
    gateway = Gateway(options, servers, environment)
    ready = (time.monotonic() - began) * 1000
    turns = {name: [] for name in servers}
    for _ in range(options.turns):
        for name in servers:
            turns[name].append(first_call(gateway, name, options.calls // options.turns + 1))
            # What has gone uses no processor when the next one is measured.
            settle(gateway)
    said = {"place": place, "from_spawn_ms": round(ready)}
    for name, taken in turns.items():
        said[name] = {what: middle([turn[what] for turn in taken]) for what in taken[0]}
    pairs = list(zip(turns["plain"], turns["hosted"]))
    said["start_above_plain_ms"] = middle([hosted["start"] - plain["start"] for plain, hosted in pairs])
    said["call_to_plain"] = middle([hosted["call"] / plain["call"] for plain, hosted in pairs])
    said["call_cpu_to_plain"] = middle([hosted["call_cpu"] / plain["call_cpu"] for plain, hosted in pairs])
    if place == "bubblewrap":
        said["children_cpu_ms"] = round(of_children(gateway.pid) / options.turns, 1)
    gateway.end()
    print(json.dumps(said), flush=True)


def settle(gateway):
    """Waits until the gateway does nothing."""
    deadline, before = time.monotonic() + 30, cpu(gateway.pid)
    while time.monotonic() < deadline:
        time.sleep(0.1)
        now = cpu(gateway.pid)
        if now - before < 0.5:
            return
        before = now


def memory(options, server):
    """What twenty more idle servers hold, in kilobytes each."""
    held = []
    for count in (1, 21):
        gateway = Gateway(options, {f"s{number}": server for number in range(count)})
        settle(gateway)
        held.append({"rss": rollup(gateway.pid, "Rss"), "own": rollup(gateway.pid, "Private_Dirty"),
                     "beside": sum(rollup(pid, "Pss") for pid in descendants(gateway.pid))})
        gateway.end()
    one, many = held
    return {what: (many[what] - one[what]) / 20 for what in ("rss", "own", "beside")}


def main():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=21)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--memory", type=int, default=3, help="how often memory is measured")
    parser.add_argument("--places", default="bubblewrap,podman,docker")
    parser.add_argument("--gateway", default=target / "release/portcullis")
    parser.add_argument("--engine", default=target / "debug/container-engine")
    options = parser.parse_args()
    if pathlib.Path(options.gateway).is_relative_to(target):
        subprocess.run(["cargo", "build", "--release", "--package", "portcullis"], cwd=TOP, check=True)
    if pathlib.Path(options.engine).is_relative_to(target):
        subprocess.run(["cargo", "build", "--package", "portcullis-tests", "--bin", "container-engine"], cwd=TOP, check=True)
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "hostile"
        subprocess.run(["rustc", "-O", "--edition", "2024", "-C", "strip=symbols", "-C", "target-feature=+crt-static",
                        TOP / "tests/hosting/hostile.rs", "-o", program], check=True)
        os.chmod(folder, 0o755)
        plain = {"command": [str(program)]}
        boxed = {**plain, "host": {"backend": "bubblewrap"}}
        for place in filter(None, options.places.split(",")):
            if place == "bubblewrap":
                starts(options, place, {"plain": plain, "hosted": boxed}, {})
                continue
            with subprocess.Popen([options.engine, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as engine:
                told = json.loads(engine.stdout.readline())
                hosted = {"host": {"backend": "container", "image": told["image"]}, "timeout": "60s"}
                starts(options, place, {"plain": plain, "hosted": hosted}, {"DOCKER_HOST": told["address"]})
                engine.stdin.close()
        for place, server in [("plain", plain), ("bubblewrap", boxed)] if options.memory else []:
            turns = [memory(options, server) for _ in range(options.memory)]
            kinds = {f"{what}_kb": middle([turn[what] for turn in turns]) for what in turns[0]}
            print(json.dumps({"place": place, "each_idle_server": kinds}), flush=True)


main()
