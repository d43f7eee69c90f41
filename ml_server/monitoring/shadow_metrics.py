"""What came of shadows, as Prometheus reads it: of as many aliases as are kept."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ml_server.monitoring.shadow import ShadowRecord, Shadows

ALIAS = ["owner", "model", "alias"]


class ShadowCollector(Collector):
    """Makes the figures when they are asked for."""

    def __init__(self, shadows: Shadows) -> None:
        self._shadows = shadows

    def collect(self) -> Iterator[Metric]:
        """The figures of now; called on a thread of its own."""
        yield from _shadow_metrics(self._shadows.records())


def _shadow_metrics(records: list[ShadowRecord]) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "flare_shadow_requests", "Requests of an alias by what came of asking its shadow", labels=[*ALIAS, "outcome"]
    )
    rows = CounterMetricFamily("flare_shadow_rows", "Rows that a shadow answered too", labels=ALIAS)
    seconds = CounterMetricFamily(
        "flare_shadow_seconds", "Time that requests took which both answered", labels=[*ALIAS, "side"]
    )
    agreement = GaugeMetricFamily(
        "flare_shadow_label_agreement", "Share of rows with equal labels", labels=[*ALIAS, "target"]
    )
    difference = GaugeMetricFamily(
        "flare_shadow_mean_absolute_difference",
        "Of predicted numbers, or of the probabilities of classes",
        labels=[*ALIAS, "target"],
    )
    for record in records:
        labels = [record.owner, record.model, record.alias]
        requests.add_metric([*labels, "compared"], record.requests)
        requests.add_metric([*labels, "failed"], record.failures)
        requests.add_metric([*labels, "dropped"], record.dropped)
        rows.add_metric(labels, record.rows)
        seconds.add_metric([*labels, "answering"], record.nanoseconds / 1e9)
        seconds.add_metric([*labels, "shadow"], record.shadow_nanoseconds / 1e9)
        for target, sums in record.targets.items():
            if sums.agreeing is not None:
                agreement.add_metric([*labels, target], sums.agreeing / sums.rows)
            difference.add_metric([*labels, target], sums.difference / sums.rows)
    yield from (requests, rows, seconds, agreement, difference)
