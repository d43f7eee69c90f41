"""The steps of the demo, each as the `flare` command of the same words does it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flare.ml.v1 import model_pb2
from flare.scraper.v1 import dataset_view_pb2

from flare_client import Flare
from flare_client.cli.demo.narrator import Narrator
from flare_client.cli.import_display import follow_import
from flare_client.cli.training_watch import follow_training
from flare_client.history import metrics_by_name, plot_history
from flare_client.names import short
from flare_client.plans import PlanOptions

if TYPE_CHECKING:
    import pandas as pd

PREVIEW_COLUMNS = 6
PREDICTED_ROWS = 3


@dataclass(frozen=True)
class Trained:
    """A model of the demo with what its training gave."""

    name: str
    kind: str
    version: model_pb2.ModelVersion
    history: pd.DataFrame
    seconds: float

    @property
    def test_accuracy(self) -> float | None:
        """The share of test rows that it names rightly; None where it predicts numbers."""
        metrics = metrics_by_name(self.version.test_metrics)
        return next((value for name, value in metrics.items() if name.startswith("accuracy")), None)


class Steps:
    """Does the steps and tells them."""

    def __init__(self, flare: Flare, narrator: Narrator) -> None:
        self._flare = flare
        self._tell = narrator

    def log_in(self) -> None:
        """Shows who calls."""
        self._tell.step("Log in")
        self._tell.say(f"logged in as {self._flare.caller().subject}")

    def search(self, query: str, source: str) -> None:
        """Searches a source."""
        self._tell.step(f"Find data about {query!r}")
        self._tell.command("datasets", "search", query, "--source", source)
        found = self._flare.datasets.search(query, source=source, limit=5)
        self._tell.table(["NAME", "TITLE", "WHAT IT HOLDS"], [(d.ref, d.title, d.subtitle) for d in found])

    def import_dataset(self, ref: str, dataset_id: str, source: str, file: str = "") -> str:
        """Imports a data set, looks at it, and returns its name."""
        self._tell.step(f"Import {ref}")
        self._tell.command("datasets", "import", ref, "--id", dataset_id)
        job = self._flare.datasets.import_(ref, source=source, file=file, dataset_id=dataset_id)
        dataset = follow_import(job)
        self._tell.say(f"{dataset.name}: {dataset.row_count:,} rows, {len(dataset.columns)} columns")
        self._tell.command("datasets", "preview", dataset_id, "--rows", "3")
        columns = [column.name for column in dataset.columns]
        half = PREVIEW_COLUMNS // 2
        shown = columns if len(columns) <= PREVIEW_COLUMNS else columns[:half] + columns[-half:]
        frame = self._flare.datasets.preview(dataset, rows=3, columns=shown)
        self._tell.table(shown, [["" if cell is None else cell for cell in row] for row in frame.to_numpy().tolist()])
        return dataset.name

    def make_view(
        self,
        dataset: str,
        target: str,
        *,
        drop: Sequence[str] = (),
        cast: Mapping[str, str] | None = None,
        stratify: bool = True,
        seed: int = 7,
    ) -> dataset_view_pb2.DatasetView:
        """Makes a view with a seeded split."""
        self._tell.step(f"Say what is learned: {target} of {short(dataset)}")
        options = ["--target", target]
        for column in drop:
            options += ["--drop", column]
        for column, type_name in (cast or {}).items():
            options += ["--cast", f"{column}={type_name}"]
        if stratify:
            options += ["--stratify", target]
        self._tell.command("views", "create", short(dataset), *options, "--seed", str(seed), "--id", "main")
        view = self._flare.views.create(
            dataset,
            target,
            drop=drop,
            cast=cast,
            stratify=target if stratify else None,
            seed=seed,
            view_id="main",
        )
        counts = view.row_counts
        inputs = len(view.resolved_columns) - 1
        self._tell.say(
            f"{view.name}: {inputs} columns in, {target} out; "
            f"{counts.train} rows train, {counts.validation} validate, {counts.test} test"
        )
        return view

    def train(self, model: str, kind: str, view: dataset_view_pb2.DatasetView, plan: PlanOptions) -> Trained:
        """Trains a model while showing how it goes."""
        began = time.monotonic()
        options = [part for key, value in plan.items() for part in (f"--{key.replace('_', '-')}", str(value))]
        self._tell.command("train", model, short(view.name), *options)
        job = self._flare.train(model, view, **plan)
        version = follow_training(job, console=self._tell.console)
        return Trained(model, kind, version, job.history(), time.monotonic() - began)

    def predict(self, trained: Trained, view: dataset_view_pb2.DatasetView) -> None:
        """Predicts some test rows by column name and compares with what is true."""
        targets = [c.name for c in view.resolved_columns if c.role == dataset_view_pb2.COLUMN_ROLE_TARGET]
        rows = self._flare.datasets.to_dataframe(view, "test").head(PREDICTED_ROWS)
        predicted = self._flare.predict(trained.name, rows.drop(columns=targets))
        self._tell.command("predict", trained.name, "rows.csv")
        table = []
        for index in range(len(rows)):
            for target in targets:
                label = predicted[target].iloc[index]
                probability = predicted.get(f"{target}_probability_{label}")
                sure = "" if probability is None else f"{probability.iloc[index]:.1%}"
                shown = f"{label:.5g}" if isinstance(label, float) else label
                table.append((target, shown, sure, rows[target].iloc[index]))
        self._tell.table(["TARGET", "PREDICTED", ">PROBABILITY", "TRUE"], table)

    def sum_up(self, models: Sequence[Trained], picture: Path) -> None:
        """Shows the test metrics of all models, and draws their learning curves."""
        self._tell.step("Compare them on rows that none of them has seen")
        names = list(dict.fromkeys(name for model in models for name in metrics_by_name(model.version.test_metrics)))
        rows = []
        for model in models:
            metrics = metrics_by_name(model.version.test_metrics)
            figures = [f"{metrics[name]:.4f}" if name in metrics else "" for name in names]
            rows.append((model.name, model.kind, f"{model.version.parameter_count:,}", *figures))
        self._tell.table(["MODEL", "KIND", ">PARAMETERS", *(f">{name}" for name in names)], rows)
        plot_history({f"{model.name} ({model.kind})": model.history for model in models}, picture)
        self._tell.say(f"learning curves: {picture}")
