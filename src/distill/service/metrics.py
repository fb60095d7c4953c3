"""What /metrics says: of one process, or summed over the workers of a service."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from distill.service.generations import Generation, Refused, Watched

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client reads it when it is imported
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counters of the service."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self._own = own
        self.requests = Counter("distill_requests", "Answers by route and status.", ("route", "status"), registry=own)
        self.seconds = Histogram(
            "distill_request_seconds",
            "From headers to the last byte of the answer.",
            ("route",),
            buckets=_BUCKETS,
            registry=own,
        )
        self.in_flight = Gauge(
            "distill_in_flight", "Requests that are worked on or wait.", registry=own, multiprocess_mode="livesum"
        )
        self.shed = Counter(
            "distill_shed", "Requests refused since too many waited, or too long.", ("reason",), registry=own
        )
        self.bundle = Gauge(
            "distill_bundle_info",
            "Workers that serve a bundle.",
            ("name", "version"),
            registry=own,
            multiprocess_mode="livesum",
        )
        self.swaps = Counter("distill_swaps", "Bundles that were swapped in.", registry=own)
        self.refused = Counter("distill_refused_bundles", "Bundles that were refused.", registry=own)

    def watched(self) -> Watched:
        """Returns what counts swaps and refusals."""
        return Watched(self._swapped, self._refused)

    def text(self) -> bytes:
        """Returns all of them in Prometheus' format."""
        if FOLDER_VARIABLE not in os.environ:
            return generate_latest(self._own)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def _swapped(self, new: Generation, old: Generation | None) -> None:
        if old is not None:
            self.bundle.labels(old.name, old.version).set(0)
            self.swaps.inc()
        self.bundle.labels(new.name, new.version).set(1)

    def _refused(self, refused: Refused) -> None:
        self.refused.inc()
