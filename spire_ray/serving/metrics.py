"""What `/metrics` says, for Prometheus: of the ingress itself, and of the replicas as they say it when they are asked."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The metrics of one ingress."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("spire_requests", "Requests, by route and status.", ["route", "status"], registry=self._registry)
        self.latency = Histogram(
            "spire_request_seconds", "Seconds to the last byte.", ["route"], buckets=_SECONDS, registry=self._registry
        )
        self.first = Histogram(
            "spire_first_token_seconds", "Seconds to the first event of a stream.", buckets=_SECONDS, registry=self._registry
        )
        self.in_work = Gauge("spire_requests_in_work", "Requests that are being answered.", registry=self._registry)
        self._audio = Counter("spire_audio_seconds", "Seconds of audio that were answered.", registry=self._registry)
        self._replica: dict[str, Gauge] = {}

    def heard(self, seconds: float) -> None:
        """Audio that was answered."""
        self._audio.inc(seconds)

    def replica(self, stats: dict[str, float]) -> None:
        """What a replica says of itself."""
        for name, value in stats.items():
            if name not in self._replica:
                self._replica[name] = Gauge(f"spire_{name}", "Of one replica.", registry=self._registry)
            self._replica[name].set(value)

    def text(self) -> bytes:
        """In the format of Prometheus."""
        return generate_latest(self._registry)
