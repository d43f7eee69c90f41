"""Counts and durations of calls. Of each call, so they are plain numbers, made into metrics when somebody asks."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

# 100 microseconds to 100 seconds, five steps a decade.
LATENCY_BUCKETS = [10 ** (exponent / 5) for exponent in range(-20, 11)]


class MethodFigures:
    """The figures of one method, changed by the event loop alone."""

    __slots__ = ("buckets", "calls", "running", "seconds")

    def __init__(self) -> None:
        self.running = 0
        self.seconds = 0.0
        self.calls: Counter[str] = Counter()
        """By the name of the status that they ended with."""
        self.buckets = [0] * (len(LATENCY_BUCKETS) + 1)
        """Calls that took longer than the bound before, and not longer than their own; the last one has none."""

    def ended(self, code: str, seconds: float) -> None:
        """Counts a call that has ended."""
        self.running -= 1
        self.seconds += seconds
        self.calls[code] += 1
        self.buckets[bisect_left(LATENCY_BUCKETS, seconds)] += 1


class CallMetrics(Collector):
    """`flare_rpc_calls`, `flare_rpc_seconds` and `flare_rpc_running`, by method."""

    def __init__(self) -> None:
        self._figures: dict[str, MethodFigures] = {}

    def of(self, method: str) -> MethodFigures:
        """Those of a method, which is known from now on."""
        return self._figures.setdefault(method, MethodFigures())

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        calls = CounterMetricFamily("flare_rpc_calls", "Calls by their end", labels=["method", "code"])
        seconds = HistogramMetricFamily("flare_rpc_seconds", "From request to the last answer", labels=["method"])
        running = GaugeMetricFamily("flare_rpc_running", "Calls under way", labels=["method"])
        for method, figures in list(self._figures.items()):
            for code, count in list(figures.calls.items()):
                calls.add_metric([method, code], count)
            seconds.add_metric([method], _cumulative(figures.buckets), figures.seconds)
            running.add_metric([method], figures.running)
        yield from (calls, seconds, running)


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    total = 0
    bounds = [*map(str, LATENCY_BUCKETS), "+Inf"]
    found: list[tuple[str, float]] = []
    for bound, count in zip(bounds, buckets, strict=True):
        total += count
        found.append((bound, total))
    return found
