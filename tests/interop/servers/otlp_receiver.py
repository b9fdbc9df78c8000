"""An OTLP collector in small: takes http/protobuf, decodes it with opentelemetry-proto, and gives it out as JSON.

`POST /v1/traces`, `/v1/metrics`, `/v1/logs` as OTLP has them. `GET /received` answers
`{"spans": [...], "metrics": [...], "logs": [...], "headers": [...]}`. Prints `listening on URL` once it listens.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

lock = threading.Lock()
received = {"spans": [], "metrics": [], "logs": [], "headers": []}


def value(any_value):
    """The value of an attribute."""
    return getattr(any_value, any_value.WhichOneof("value") or "string_value")


def attributes(pairs):
    """Attributes as an object."""
    return {pair.key: value(pair.value) for pair in pairs}


def spans(body):
    """The spans of a request."""
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield {
                    "name": span.name,
                    "kind": Span.SpanKind.Name(span.kind),
                    "trace": span.trace_id.hex(),
                    "span": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "nanoseconds": span.end_time_unix_nano - span.start_time_unix_nano,
                    "status": Status.StatusCode.Name(span.status.code),
                    "attributes": attributes(span.attributes),
                    "resource": attributes(resource.resource.attributes),
                }


def metrics(body):
    """The histograms of a request."""
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.histogram.data_points:
                    yield {
                        "name": metric.name,
                        "unit": metric.unit,
                        "count": point.count,
                        "bounds": list(point.explicit_bounds),
                        "attributes": attributes(point.attributes),
                    }


def logs(body):
    """The log records of a request."""
    for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                yield {
                    "body": value(record.body),
                    "severity": record.severity_text,
                    "attributes": attributes(record.attributes),
                }


SIGNALS = {"/v1/traces": ("spans", spans), "/v1/metrics": ("metrics", metrics), "/v1/logs": ("logs", logs)}


class Handler(BaseHTTPRequestHandler):
    """Answers both sides."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """Takes telemetry."""
        body = self.rfile.read(int(self.headers["content-length"]))
        name, decode = SIGNALS[self.path]
        assert self.headers["content-type"] == "application/x-protobuf", self.headers
        with lock:
            received[name].extend(decode(body))
            received["headers"].append(dict(self.headers))
        self.reply("application/x-protobuf", b"")

    def do_GET(self):
        """Gives out what has come."""
        with lock:
            body = json.dumps(received).encode()
        self.reply("application/json", body)

    def reply(self, kind, body):
        """Answers."""
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
