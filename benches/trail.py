#!/usr/bin/env python3
"""Measures what is read of a large audit trail: pages by what they are searched by, `verify`, counts, and a simulation.

    benches/trail.py [--entries 1000000] [--times 7] [--lines 1] [--keep FOLDER]

A gateway writes the trail itself, while agents call through it as fast as it goes; a few entries are of an agent that calls
only at the beginning, in the middle and at the end, and a few are denied. A batch of such a writer has hundreds of lines. So everything is measured
a second time with the database as it is where agents call so seldom that each batch has `--lines` of them: the same lines,
written into the database anew. Prints a line of JSON for each; `ms` is by the clock, the least, the middle one and the most,
and `cpu_ms` the gateway's processor time, the middle one. `--keep` leaves the trail there, and takes one that is there.
"""

import argparse
import http.client
import json
import os
import pathlib
import sqlite3
import statistics
import subprocess
import tempfile
import time
import urllib.parse

TOP = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
ADMIN = "the bench's admin key"
SERVERS, STUB, PORT = 10, 9861, 9881
TAG = "x-lunar-consumer-tag"


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.started = []
        tags = {name: {"match": [{"tag": name}], "allow": ["*"]} for name in ("coder", "ci", "rare")}
        config = {
            "version": 1,
            "auth": {"trust_tags": True},
            "servers": {f"up{at}": {"url": f"http://127.0.0.1:{STUB + at}/mcp"} for at in range(SERVERS)},
            "agents": {**tags, "barred": {"match": [{"tag": "barred"}], "allow": ["*"], "deny": ["up1/*"]}},
        }
        draft = json.loads(json.dumps(config))
        draft["agents"]["ci"]["deny"] = ["up2/*"]
        for name, text in (("portcullis.json", config), ("draft.json", draft)):
            (folder / name).write_text(json.dumps(text))
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PORTCULLIS_LOG": "warn",
                            "PORTCULLIS_ADMIN_KEY": ADMIN}
        self.start([options.bench, "stub", "--port", str(STUB), "--servers", str(SERVERS)])
        self.gateway = self.start(
            [options.gateway, "serve", "--listen", f"127.0.0.1:{PORT}", "--config", folder / "portcullis.json",
             "--data-dir", folder / "data"])
        deadline = time.monotonic() + 60
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise SystemExit("the gateway is not ready")
            time.sleep(0.05)

    def start(self, command):
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL)
        self.started.append(process)
        return process

    def is_ready(self):
        try:
            return self.ask("audit?limit=1")[0] is not None
        except OSError:
            return False

    def end(self):
        for process in self.started:
            process.terminate()
            process.wait()

    def ask(self, path, method="GET", body=None):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=600)
        headers = {"authorization": f"Bearer {ADMIN}", "content-type": "application/json"}
        connection.request(method, f"/admin/v1/{path}", body, headers)
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise SystemExit(f"{path}: {response.status} {text[:300]!r}")
        return text

    def last(self):
        """The number of the newest entry, and its moment."""
        items = json.loads(self.ask("audit?limit=1"))["entries"]
        return (items[0]["id"], items[0]["time"]) if items else (0, None)

    def call(self, agent, tool, seconds):
        return subprocess.Popen(
            [self.options.bench, "load", "--modern", "--url", f"http://127.0.0.1:{PORT}/mcp", "--tool", tool,
             "--seconds", str(seconds), "--header", f"{TAG}: {agent}"], stdout=subprocess.DEVNULL)

    def call_once(self, agent, tool):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": {"name": tool, "arguments": {"text": "x"}, "_meta": meta}}
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream",
                   "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": tool, TAG: agent}
        connection.request("POST", "/mcp", json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise SystemExit(f"{response.status}: {response.read()!r}")
        connection.close()

    def fill(self):
        """Calls until there are as many entries as are wanted."""
        turn, wanted, is_past_middle = 0, self.options.entries, False
        self.call_once("rare", "up3__echo")
        while (reached := self.last()[0]) < wanted:
            if not is_past_middle and reached > wanted / 2:
                self.call_once("rare", "up3__echo")
                is_past_middle = True
            # What is written together is of several agents and servers.
            loads = [self.call("coder", f"up{turn % 5}__echo", 3), self.call("ci", f"up{5 + turn % 4}__echo", 3)]
            for _ in range(20):
                self.call_once("barred", "up1__echo")
            if any([load.wait() for load in loads]):
                raise SystemExit("the calls fail")
            turn += 1
        self.call_once("rare", "up3__echo")
        time.sleep(1)

    def cpu(self):
        threads = pathlib.Path(f"/proc/{self.gateway.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e6

    def measure(self, name, work, times=None):
        taken, cpu, told = [], [], None
        for _ in range(times or self.options.times):
            before, began = self.cpu(), time.monotonic()
            told = work()
            taken.append((time.monotonic() - began) * 1000)
            cpu.append(self.cpu() - before)
        line = [round(number, 1) for number in (min(taken), statistics.median(taken), max(taken))]
        print(json.dumps({"database": self.database, "what": name, "ms": line,
                          "cpu_ms": round(statistics.median(cpu), 1), "found": told}), flush=True)

    def page(self, name, **query):
        def work():
            return len(json.loads(self.ask("audit?" + urllib.parse.urlencode(query)))["entries"])
        self.measure(name, work)

    def run(self, command):
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{command}: {done.stderr}")
        return (done.stdout + done.stderr).strip().splitlines()[-1]

    def all(self, name):
        self.database = name
        last, newest = self.last()
        middle = json.loads(self.ask(f"audit?limit=1&cursor={last // 2}"))["entries"][0]["time"]
        for order in ("newest", "oldest"):
            self.page(f"any, {order}", order=order)
            for by, values in (
                ("agent", ("coder", "rare", "nobody")),
                ("server", ("up1", "up3", "none")),
                ("tool", ("up1__echo", "up8__echo", "none__echo")),
                ("decision", ("allowed", "denied", "failed")),
                ("method", ("tools/call", "ping")),
            ):
                for value in values:
                    self.page(f"{by} {value}, {order}", order=order, **{by: value})
            self.page(f"from the middle on, {order}", order=order, since=middle)
            self.page(f"before the middle, {order}", order=order, until=middle)
            self.page(f"after the end, {order}", order=order, since="2100-01-01T00:00:00Z")
            self.page(f"an agent and a server that never met, {order}", order=order, agent="rare", server="up9")
            self.page(f"an agent that was denied never, {order}", order=order, agent="coder", decision="denied")
        self.measure("verify", lambda: self.ask("audit/verify")[:80].decode(), 3)
        for path in ("statistics", "identities"):
            self.measure(path, lambda path=path: len(self.ask(path)))
        draft = self.folder / "draft.json"
        files = {"portcullis.json": draft.read_text()}
        simulate = [self.options.gateway, "simulate", "--config", draft, "--since", "30d"]
        one = json.dumps({"files": files, "since": "30d"})
        self.measure("simulate, one request", lambda: len(self.ask("simulate", "POST", one)), 3)
        url = f"http://127.0.0.1:{PORT}"
        self.measure("simulate, all by HTTP", lambda: self.run([*simulate, "--url", url]), 1)
        here = ["--against", self.folder / "portcullis.json", "--data-dir", self.folder / "data"]
        self.measure("simulate, all of the data folder", lambda: self.run([*simulate, *here]), 1)

    def divide(self):
        """Writes the database anew, with so many lines in each batch."""
        database = sqlite3.connect(self.folder / "data" / "audit.db", isolation_level=None, timeout=60)
        texts = database.execute("SELECT text FROM texts ORDER BY first").fetchall()
        database.execute("BEGIN IMMEDIATE")
        for table in ("segments", "texts"):
            database.execute(f"DELETE FROM {table}")
        lines = [line for (text,) in texts for line in text.splitlines()]
        for at in range(0, len(lines), self.options.lines):
            batch = lines[at:at + self.options.lines]
            entries = [json.loads(line) for line in batch]
            times = [row for (row,) in database.execute(
                "SELECT CAST(round((julianday(value) - 2440587.5) * 86400000) AS INTEGER) FROM json_each(?)",
                [json.dumps([entry["time"] for entry in entries])])]
            listed = ["\n" + "".join(text + "\n" for text in sorted({entry.get(field) or "" for entry in entries}))
                      for field in ("agent", "server", "name", "decision")]
            row = [entries[0]["id"], entries[-1]["id"], min(times), max(times), *listed]
            database.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            database.execute("INSERT INTO texts VALUES (?, ?)", [row[0], "".join(line + "\n" for line in batch)])
        database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--lines", type=int, default=1)
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--gateway", type=pathlib.Path)
    parser.add_argument("--bench", type=pathlib.Path)
    options = parser.parse_args()
    if not (options.gateway and options.bench):
        subprocess.run(["cargo", "build", "--release", "--quiet", "--package", "portcullis", "--package",
                        "portcullis-benches"], cwd=TOP, check=True)
    options.gateway = options.gateway or TARGET / "release" / "portcullis"
    options.bench = options.bench or TARGET / "release" / "portcullis-bench"
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, options.keep or pathlib.Path(folder))
        try:
            bench.fill()
            bench.all("as written")
            bench.divide()
            bench.all(f"{options.lines} in each batch")
        finally:
            bench.end()


if __name__ == "__main__":
    main()
