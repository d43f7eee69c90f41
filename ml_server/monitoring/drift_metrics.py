"""Drift, as Prometheus reads it: of versions in memory, and of so many columns of each, so that series stay few."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ml_server.monitoring.drift_watch import DriftWatch

MAX_COLUMNS = 100
VERSION = ["owner", "model", "version"]


class DriftCollector(Collector):
    """Makes the figures when they are asked for."""

    def __init__(self, watch: DriftWatch) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        """The figures of now; called on a thread of its own."""
        rows = GaugeMetricFamily("flare_drift_rows", "Rows counted", labels=VERSION)
        dropped = GaugeMetricFamily("flare_drift_dropped_rows", "Rows that were too many to count", labels=VERSION)
        index = GaugeMetricFamily(
            "flare_drift_stability_index",
            "Population stability index against the training rows",
            labels=[*VERSION, "column", "quantity"],
        )
        for version, drift in self._watch.served():
            labels = [version.model.owner, version.model.id, str(version.number)]
            rows.add_metric(labels, drift.rows)
            dropped.add_metric(labels, drift.dropped)
            for column in (*drift.outputs[:MAX_COLUMNS], *drift.inputs[:MAX_COLUMNS]):
                index.add_metric([*labels, column.column, column.quantity.value], column.index)
        yield from (rows, dropped, index)
