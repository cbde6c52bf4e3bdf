"""A collector of OpenTelemetry on loopback that takes OTLP over HTTP, and keeps it."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["Collector", "collecting", "figures_of", "spans_of"]


class Collector(ThreadingHTTPServer):
    """What it was sent, in the order it came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Export)
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.spans: list[ExportTraceServiceRequest] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Export(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/metrics":
            self.server.metrics.append(ExportMetricsServiceRequest.FromString(body))
        else:
            self.server.spans.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def collecting() -> Iterator[Collector]:
    """Collect until the end of the block."""
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def figures_of(requests: Iterable[ExportMetricsServiceRequest]) -> dict[tuple[str, ...], int]:
    """The last value of every sum and gauge, and the count of every histogram, by its labels."""
    figures = {}
    for request in requests:
        for resource in request.resource_metrics:
            for metric in (m for scope in resource.scope_metrics for m in scope.metrics):
                data = getattr(metric, metric.WhichOneof("data"))
                for point in data.data_points:
                    labels = (attribute.value.string_value for attribute in point.attributes)
                    figure = point.count if hasattr(point, "count") else _number(point)
                    figures[(metric.name.removeprefix("webhook_dedup."), *labels)] = figure
    return figures


def _number(point: object) -> float:
    return getattr(point, point.WhichOneof("value"))


def spans_of(requests: Iterable[ExportTraceServiceRequest]) -> list[Span]:
    """Every span."""
    return [
        span
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
