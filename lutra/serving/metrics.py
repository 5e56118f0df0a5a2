"""A server's figures, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)


class Metrics:
    """Counts what happens; what there is at the moment is asked when the figures are."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._answers = Counter(
            "lutra_answers", "HTTP answers by status", ["status"], registry=registry
        )
        self._received = Counter(
            "lutra_received_bytes", "Bytes of complete uploads", ["kind"], registry=registry
        )
        self._cut = Counter(
            "lutra_cut_uploads", "Uploads that were not completed", registry=registry
        )
        self._ended = Counter(
            "lutra_evaluations", "Evaluations by outcome", ["outcome"], registry=registry
        )
        self._seconds = Histogram(
            "lutra_evaluation_seconds", "How long they ran", buckets=SECONDS, registry=registry
        )

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """A figure that is asked for when it is read."""
        Gauge(f"lutra_{name}", meaning, registry=self._registry).set_function(value)

    def answered(self, status: int) -> None:
        self._answers.labels(str(status)).inc()

    def received(self, kind: str, size: int) -> None:
        self._received.labels(kind).inc(size)

    def cut(self) -> None:
        self._cut.inc()

    def evaluated(self, outcome: str, seconds: float) -> None:
        self._ended.labels(outcome).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return bytes(generate_latest(self._registry))
