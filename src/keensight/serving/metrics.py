"""The metrics that Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from keensight.serving.registry import Model, Registry
from keensight.values import Prediction

LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Counters and histograms of one server, in a registry of their own. Labels never come from a request."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "keensight_requests_total", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self.latency = Histogram(
            "keensight_request_seconds",
            "Time from a request's headers to its answer.",
            ("route",),
            buckets=LATENCY_S,
            registry=self._registry,
        )
        self.stages = Histogram(
            "keensight_stage_seconds",
            "Time of a request in a stage: decode, queue, model.",
            ("model", "stage"),
            buckets=LATENCY_S,
            registry=self._registry,
        )
        self.batches = Histogram(
            "keensight_batch_size", "Pictures in a batch.", ("model",), buckets=BATCHES, registry=self._registry
        )
        self.predictions = Counter(
            "keensight_predictions_total", "Pictures answered.", ("model", "version"), registry=self._registry
        )
        self.abstentions = Counter(
            "keensight_abstentions_total", "Pictures abstained on.", ("model", "version"), registry=self._registry
        )
        self._queue = Gauge(
            "keensight_queue_length", "Pictures decoding, queued or in the model.", registry=self._registry
        )
        self._info = Gauge(
            "keensight_model_info",
            "The models that are served; always 1.",
            ("name", "version", "signed", "verified"),
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        # asking a metric for its child takes longer than counting does, so children are kept; `cache` is unbounded, as
        # the labels come from short lists
        self._request = cache(lambda *labels: self.requests.labels(*labels).inc)
        self._seconds = cache(lambda route: self.latency.labels(route).observe)
        self._stage = cache(lambda *labels: self.stages.labels(*labels).observe)
        self._counts = cache(
            lambda *labels: (self.predictions.labels(*labels).inc, self.abstentions.labels(*labels).inc)
        )

    def watch_queue(self, length: Callable[[], float]) -> None:
        """Ask `length` for the queue's length at every scrape."""
        self._queue.set_function(length)

    def set_models(self, models: Registry) -> None:
        """Set which models are served."""
        self._info.clear()
        for model in models:
            flags = (str(model.is_signed).lower(), str(model.is_verified).lower())
            self._info.labels(model.name, model.version, *flags).set(1)

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request, and the seconds that it took."""
        self._request(method, route, str(status))()
        self._seconds(route)(seconds)

    def answered(self, model: Model, predictions: Sequence[Prediction], timing_s: Mapping[str, float]) -> None:
        """Count a request's predictions and abstentions, and the seconds of its stages."""
        count_predictions, count_abstentions = self._counts(model.name, model.version)
        count_predictions(len(predictions))
        count_abstentions(sum(p.abstained for p in predictions))
        for stage, seconds in timing_s.items():
            self._stage(model.name, stage)(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
