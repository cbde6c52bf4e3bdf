"""The demo's figures, where people have theirs: in Prometheus, and in a collector of OpenTelemetry.

Each needs an extra, so each is imported when it is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import typer

from ...contracts import Observer
from ...errors import ConfigError, WebhookDedupError

__all__ = ["linger", "watching"]

_REFRESH = 0.1
_EXPORT_EVERY_MS = 500.0
_PATIENCE = 3.0  # a collector that is not there must not hold up the demo


@contextmanager
def watching(metrics_port: int | None, otlp: str) -> Iterator[tuple[list[Observer], str]]:
    """Open the observers that were asked for; yield them and where the metrics are scraped.

    Raises:
        ConfigError: The collector's URL is none, or something is not installed.
        WebhookDedupError: The port is taken.
    """
    observers: list[Observer] = []
    address = ""
    with ExitStack() as stack:
        if metrics_port is not None:
            observer, address = stack.enter_context(_scraped(metrics_port))
            observers.append(observer)
        if otlp:
            observers.append(stack.enter_context(_exported(otlp.rstrip("/"))))
        yield observers, address


def linger(address: str) -> None:
    """Say where the metrics are, and leave them there until somebody has seen enough."""
    typer.echo(f"metrics: {address} (Ctrl-C ends)")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


@contextmanager
def _scraped(port: int) -> Iterator[tuple[Observer, str]]:
    from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415 - named above when absent

    from ...observe.prometheus import PrometheusObserver  # noqa: PLC0415 - behind its extra

    registry = CollectorRegistry()
    observer = PrometheusObserver(registry, refresh=_REFRESH)
    try:
        server, thread = start_http_server(port, "127.0.0.1", registry)
    except OSError as exc:
        raise WebhookDedupError(f"port {port} cannot be served: {exc.strerror}") from exc
    try:
        yield observer, f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _exported(url: str) -> Iterator[Observer]:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--otlp {url!a} must begin with http:// or https://")
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415 - named below when absent
            OTLPMetricExporter,
        )
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - named below when absent
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - named below when absent
        from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415 - named below when absent
            PeriodicExportingMetricReader,
        )
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - named below when absent
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - named below when absent
    except ImportError as exc:
        raise ConfigError(
            "--otlp needs an SDK and an exporter; run: "
            "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
        ) from exc
    from ...observe.otel import OtelObserver  # noqa: PLC0415 - behind its extra

    of_metrics = OTLPMetricExporter(f"{url}/v1/metrics", timeout=_PATIENCE)
    of_spans = OTLPSpanExporter(f"{url}/v1/traces", timeout=_PATIENCE)
    meters = MeterProvider([PeriodicExportingMetricReader(of_metrics, _EXPORT_EVERY_MS)])
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(of_spans))
    try:
        yield OtelObserver(meters, tracers, refresh=_REFRESH)
    finally:
        meters.shutdown()  # both export what is left
        tracers.shutdown()
