#!/usr/bin/env python3
"""Measures the function: what starting it costs, what a call costs beside the local runner, what it holds in memory, and
what it asks of its table.

    benches/lambda.py [--calls 500] [--starts 15] [--rounds 3]

Builds what it measures, but for what it is given; the emulator is the one that `tests/setup.sh --aws` installs.
The function is spoken to as Lambda does, one invocation after the other, each after the work that the one before has left.
Its table is in an emulator, whose time is not the function's: what counts is the time of the function's process, from
/proc. Everything runs on this machine; nothing is frozen, and there is no TLS.
"""

import argparse
import atexit
import base64
import collections
import http.client
import json
import os
import pathlib
import platform
import queue
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOP = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(subprocess.run(
    ["bash", "tests/setup.sh", "--where"], cwd=TOP, check=True, capture_output=True, text=True).stdout.strip())
SEAL_KEY = base64.b64encode(b"k" * 32).decode()
TARGET = "DynamoDB_20120810."


def cpu(pid):
    """The processor time of a process so far, in microseconds."""
    threads = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1000


def memory(pid, field):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def await_port(port):
    for _ in range(600):
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


class Quiet(BaseHTTPRequestHandler):
    """Answers on connections that stay open, and says nothing about it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return whole

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # whoever is killed ends its connections
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


class Platform:
    """One environment of the function, by its Runtime API and its Extensions API."""

    def __init__(self, bootstrap, folder, environment):
        self.runtime, self.extension = queue.Queue(), queue.Queue()
        self.answered, self.idle = queue.Queue(), threading.Semaphore(0)
        platform_, invocations = self, iter(range(1, 1 << 60))
        self.next_id = lambda: f"00000000-0000-4000-8000-{next(invocations):012}"

        class Api(Quiet):
            def do_GET(self):
                if "extension" in self.path:
                    platform_.idle.release()
                    said = platform_.extension.get()
                    return self.answer(200, json.dumps(said).encode())
                platform_.idle.release()
                request, event = platform_.runtime.get()
                deadline = str(int(time.time() * 1000) + 60_000)
                arn = "arn:aws:lambda:eu-west-1:000000000000:function:portcullis"
                self.answer(200, event, [
                    ("lambda-runtime-aws-request-id", request), ("lambda-runtime-deadline-ms", deadline),
                    ("lambda-runtime-invoked-function-arn", arn)])

            def do_POST(self):
                body = self.body()
                if self.path.endswith("/register"):
                    return self.answer(200, b"{}", [("lambda-extension-identifier", "one")])
                platform_.answered.put((time.monotonic(), body))
                self.answer(202, b"{}")

        port = serve(Api)
        environment = {
            "PATH": "/usr/bin:/bin", "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}", "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "PORTCULLIS_SEAL_KEY": SEAL_KEY, "PORTCULLIS_INSECURE": "1", "PORTCULLIS_CONFIG": "portcullis.json",
            "PORTCULLIS_LOG": "warn", **environment}
        self.began = time.monotonic()
        self.process = subprocess.Popen([bootstrap], cwd=folder, env=environment)
        atexit.register(self.process.kill)

    def begin(self, event):
        """Has it answer a request; returns the answer, and how long it took, in milliseconds."""
        began, request = time.monotonic(), self.next_id()
        told = {"eventType": "INVOKE", "requestId": request, "deadlineMs": int(time.time() * 1000) + 60_000}
        self.extension.put(told)
        self.runtime.put((request, event))
        at, body = self.answered.get(timeout=60)
        return body, (at - began) * 1000, at

    def rest(self):
        """Waits until nothing is left to do."""
        self.idle.acquire()
        self.idle.acquire()

    def invoke(self, event):
        """The same, and how long what was left to do after it took."""
        body, took, at = self.begin(event)
        self.rest()
        return body, took, (time.monotonic() - at) * 1000

    def first(self, event):
        """Returns the first answer, and how long it took from spawn."""
        self.rest()
        body, _, at = self.begin(event)
        return body, (at - self.began) * 1000

    def end(self):
        self.process.kill()
        self.process.wait()


META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
    "name": "up__echo", "arguments": {"message": "x" * 100}, "_meta": META}}
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream", "host": "127.0.0.1",
           "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "up__echo"}


def event(method, path, headers, body=""):
    """A request as a function URL makes an event of it."""
    about = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "bench"}
    return json.dumps({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": headers,
        "requestContext": {"accountId": "anonymous", "apiId": "abc", "domainName": "abc.lambda-url.eu-west-1.on.aws",
                           "domainPrefix": "abc", "http": about, "requestId": "1", "routeKey": "$default",
                           "stage": "$default", "time": "26/Nov/2026:00:00:00 +0000", "timeEpoch": 1},
        "body": body, "isBase64Encoded": False}).encode()


CALLED = event("POST", "/mcp", HEADERS, json.dumps(CALL))
PINGED = event("GET", "/healthz", {"host": "127.0.0.1"})


class Table:
    """An emulator of DynamoDB, and a way to it that counts what is asked, by operation."""

    def __init__(self, folder):
        port = free_port()
        environment = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "dynamodb",
                       "LOG_LEVEL": "WARNING", "STATE_DIR": folder, "TMPDIR": folder}
        self.process = subprocess.Popen([CACHE / "ministack/bin/ministack"], env=environment, cwd=folder,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        await_port(port)
        self.port, self.made, self.asked = port, 0, []
        table = self

        class Way(Quiet):
            def do_POST(self):
                body, began = self.body(), time.monotonic()
                said = table.pass_on(self.headers["X-Amz-Target"], body)
                table.asked.append((self.headers["X-Amz-Target"].removeprefix(TARGET), body, time.monotonic() - began))
                self.answer(200 if b"__type" not in said else 400, said, [("Content-Type", "application/x-amz-json-1.0")])

        self.url = f"http://127.0.0.1:{serve(Way)}"

    def pass_on(self, target, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("POST", "/", body, {
            "X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.0", "X-Amz-Date": "20260101T000000Z",
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/dynamodb/aws4_request, "
                             "SignedHeaders=host, Signature=0"})
        return connection.getresponse().read()

    def make(self):
        description = json.loads((TOP / "infra/table.json").read_text())
        description.pop("TimeToLiveSpecification"), description.pop("PointInTimeRecoverySpecification")
        self.made += 1
        description["TableName"] = f"table-{self.made}"
        self.pass_on(f"{TARGET}CreateTable", json.dumps(description).encode())
        return {"PORTCULLIS_TABLE": description["TableName"], "AWS_ENDPOINT_URL": self.url}


def starts(options, folder, environment, what):
    """From spawn to the first answer: by the clock, less what the table took, and the processor's time."""
    all_, waited, used = [], [], []
    for _ in range(options.starts):
        table = options.table
        table.asked.clear()
        platform_ = Platform(options.bootstrap, folder, environment())
        body, took = platform_.first(what)
        used.append(cpu(platform_.process.pid) / 1000)
        waited.append(sum(seconds for *_, seconds in table.asked) * 1000)
        all_.append(took)
        assert b"200" in body[:200], body[:300]
        platform_.end()
    middle = statistics.median
    return {"ms": round(middle(all_), 1), "least": round(min(all_), 1), "cpu_ms": round(middle(used), 1),
            "in_the_table_ms": round(middle(waited), 1),
            "asked": collections.Counter(operation for operation, *_ in options.table.asked)}


def calls(options, folder, environment):
    """What a call takes of the function."""
    platform_ = Platform(options.bootstrap, folder, environment)
    platform_.rest()
    for _ in range(50):
        body, *_ = platform_.invoke(CALLED)
    assert b"xxxx" in body, body[:300]
    options.table.asked.clear()
    pid, took, after = platform_.process.pid, [], []
    before = cpu(pid)
    for _ in range(options.calls):
        _, answered, left = platform_.invoke(CALLED)
        took.append(answered)
        after.append(left)
    used = (cpu(pid) - before) / options.calls
    asked = collections.Counter(operation for operation, *_ in options.table.asked)
    items = [item for operation, body, _ in options.table.asked for item in written(operation, body)]
    result = {"cpu_us": round(used), "answer_ms": round(statistics.median(took), 2),
              "after_ms": round(statistics.median(after), 2), "rss_mib": round(memory(pid, "VmRSS"), 1),
              "peak_mib": round(memory(pid, "VmHWM"), 1),
              "asked_for_each_call": {name: round(count / options.calls, 3) for name, count in asked.items()},
              "items_for_each_call": {name: (round(count / options.calls, 3), size)
                                      for name, (count, size) in sizes(items).items()}}
    platform_.end()
    return result


def written(operation, body):
    """The items that a request writes."""
    said = json.loads(body)
    if operation == "TransactWriteItems":
        return [next(iter(one.values())) for one in said["TransactItems"]]
    return [said] if operation in ("PutItem", "UpdateItem", "DeleteItem") else []


def sizes(items):
    """How many items were written of each kind, and the size of the largest as JSON, in bytes."""
    found = {}
    for item in items:
        key = item.get("Item") or item.get("Key") or {}
        kind = key.get("pk", {}).get("S", "?").split("#")[0] + " " + key.get("sk", {}).get("S", "?").split("#")[0]
        count, size = found.get(kind, (0, 0))
        found[kind] = (count + 1, max(size, len(json.dumps(item.get("Item", {})))))
    return found


def local(options, folder, configuration):
    """What the same call takes of the local runner, on one connection."""
    port, data = free_port(), tempfile.mkdtemp()
    environment = {"PATH": "/usr/bin:/bin", "PORTCULLIS_LOG": "warn", "HOME": data}
    process = subprocess.Popen(
        [options.local, "serve", "--listen", f"127.0.0.1:{port}", "--config", configuration, "--data-dir", data],
        cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await_port(port)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(options.calls + 50):
        if number == 50:
            before = cpu(process.pid)
        connection.request("POST", "/mcp", json.dumps(CALL), HEADERS)
        answer = connection.getresponse().read()
    assert b"xxxx" in answer, answer[:300]
    used = (cpu(process.pid) - before) / options.calls
    result = {"cpu_us": round(used), "rss_mib": round(memory(process.pid, "VmRSS"), 1)}
    process.kill()
    process.wait()
    return result


def main():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
    machine = platform.machine()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--starts", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bootstrap", default=target / f"{machine}-unknown-linux-gnu/release/bootstrap")
    parser.add_argument("--local", default=target / "release/portcullis")
    parser.add_argument("--stub", default=target / "release/portcullis-bench")
    options = parser.parse_args()
    arch = {"aarch64": "arm64"}.get(machine, machine)
    subprocess.run(["bash", "infra/aws/build.sh", "--arch", arch], cwd=TOP, check=True)
    for program, of in [(options.local, "portcullis"), (options.stub, "portcullis-benches")]:
        if pathlib.Path(program).is_relative_to(target):
            subprocess.run(["cargo", "build", "--release", "--package", of], cwd=TOP, check=True)
    package = TOP / "infra/aws/build/portcullis.zip"
    print(json.dumps({"package_bytes": package.stat().st_size, "program_bytes": os.stat(options.bootstrap).st_size}))
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        stub = subprocess.Popen([options.stub, "stub", "--port", str(port)])
        await_port(port)
        servers = {"up": {"url": f"http://127.0.0.1:{port}/mcp"}}
        limited = {"default": {"allow": ["*"], "limits": {"daily": 1_000_000}}}
        for name, more in [("portcullis", {}), ("without", {"audit": {"enabled": False}}), ("limited", {"agents": limited})]:
            configuration = {"version": 1, "servers": servers, **more}
            (pathlib.Path(folder) / f"{name}.json").write_text(json.dumps(configuration))
        options.table = Table(folder)
        say = lambda what, result: print(json.dumps({"what": what, **result}), flush=True)
        try:
            for what, first in [("/healthz", PINGED), ("tools/call", CALLED)]:
                say(f"start without a table, {what}", starts(options, folder, dict, first))
                say(f"start with a new table, {what}", starts(options, folder, options.table.make, first))
                same = options.table.make()
                say(f"start with the table of others, {what}", starts(options, folder, lambda same=same: same, first))
            for _ in range(options.rounds):
                say("local, without the trail", local(options, folder, "without.json"))
                say("function, without a table", calls(options, folder, {}))
                say("local", local(options, folder, "portcullis.json"))
                say("function, with a table", calls(options, folder, options.table.make()))
            limit = {**options.table.make(), "PORTCULLIS_CONFIG": "limited.json"}
            say("function, with a table and a limit", calls(options, folder, limit))
        finally:
            stub.kill()
            options.table.process.kill()


main()
