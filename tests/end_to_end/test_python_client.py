"""The Python client against the running services."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import flare_client
import grpc
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from flare_client import Flare, FlareError
from flare_client import aio as flare_aio
from nbclient import NotebookClient

from tests.services import FlareServices

ROOT = Path(__file__).parents[2]


def connection(services: FlareServices) -> dict[str, str]:
    """The arguments of `connect`."""
    return {
        "auth": services.auth_address,
        "scraper": services.scraper_address,
        "ml": services.ml_address,
        "username": services.username,
        "password": services.password,
    }


@pytest.fixture(scope="module")
def flare(flare_services: FlareServices) -> Iterator[Flare]:
    """A connection that the tests of this file share."""
    with flare_client.connect(**connection(flare_services)) as connected:  # type: ignore[arg-type]
        yield connected


@pytest.fixture(scope="module")
def flowers(flare: Flare) -> str:
    """A view of the iris data, stratified by species."""
    dataset = flare.datasets.import_("iris", dataset_id=unique("iris")).wait()
    view = flare.views.create(dataset, "species", stratify="species", seed=7)
    return view.name


def unique(name: str) -> str:
    """A name that no other test has."""
    return f"{name}-{uuid4().hex[:8]}"


def test_an_import_tells_its_progress_and_leaves_a_data_set(flare: Flare) -> None:
    job = flare.datasets.import_("wine", dataset_id=unique("wine"))
    events = [event.WhichOneof("event") for event in job.events()]
    dataset = job.wait()
    assert events[-1] == "state_changed"
    assert "dataset_created" in events
    assert (dataset.row_count, len(dataset.columns)) == (178, 14)
    again = flare.jobs.get_import(job.name)
    assert again.state == "succeeded"
    assert [progress.phase for progress in again.progress()]


def test_a_frame_comes_back_as_it_was_uploaded(flare: Flare) -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=60),
            "n": rng.integers(0, 9, size=60),
            "flag": rng.random(60) < 0.5,
            "kind": rng.choice(["a", "b"], size=60),
            "y": rng.normal(size=60),
        }
    )
    dataset = flare.datasets.upload(frame, dataset_id=unique("frame"))
    view = flare.views.create(dataset, "y", seed=1)
    parts = [flare.datasets.to_dataframe(view, part) for part in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [view.row_counts.train, view.row_counts.validation, view.row_counts.test]
    together = pd.concat(parts).sort_values("x").reset_index(drop=True)
    expected = frame.sort_values("x").reset_index(drop=True)
    np.testing.assert_allclose(together[["x", "y"]].to_numpy(), expected[["x", "y"]].to_numpy())
    assert together["kind"].astype(str).tolist() == expected["kind"].tolist()
    assert together["n"].tolist() == expected["n"].tolist()


def test_a_perceptron_is_trained_watched_and_asked(flare: Flare, flowers: str) -> None:
    model = flare.models.create(unique("iris"), flare_client.mlp([16]), view=flowers)
    assert model.size.output_count == 3
    job = flare.train(model, flowers, epochs=12, batch_size=16, learning_rate=0.02, seed=1)
    epochs = list(job.epochs())
    assert [epoch.epoch for epoch in epochs] == list(range(1, 13))
    assert epochs[-1].validation_loss < epochs[0].validation_loss
    version = job.wait()
    assert version.name == f"{model.name}/versions/1"
    history = job.history()
    assert list(history["validation_loss"]) == [epoch.validation_loss for epoch in epochs]

    test = flare.datasets.to_dataframe(flowers, "test")
    predicted = flare.predict(model, test.drop(columns="species"))
    assert (predicted["species"] == test["species"].astype(str)).mean() > 0.8
    probabilities = predicted.filter(like="species_probability_")
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)

    rows = test.drop(columns="species").head(2).to_dict(orient="records")
    pd.testing.assert_frame_equal(flare.predict(version.name, rows), predicted.head(2), rtol=1e-4)
    pieces = [test.drop(columns="species").iloc[start : start + 5] for start in range(0, len(test), 5)]
    streamed = pd.concat(list(flare.predict_stream(model, pieces)), ignore_index=True)
    pd.testing.assert_frame_equal(streamed, predicted, rtol=1e-4)


def test_a_watch_resumed_from_any_sequence_misses_and_repeats_nothing(flare: Flare, flowers: str) -> None:
    model = flare.models.create(unique("iris"), flare_client.mlp([4]), view=flowers)
    job = flare.train(model, flowers, epochs=3, seed=1)
    everything = [event.sequence for event in job.events()]
    assert everything == list(range(1, len(everything) + 1))
    for after in everything:
        assert [event.sequence for event in job.events(after)] == everything[after:]


class Gated(torch.nn.Module):
    """A small network with a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.value = torch.nn.Linear(4, 8)
        self.gate = torch.nn.Linear(4, 8)
        self.out = torch.nn.Linear(8, 3)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(N, 4) to (N, 3)."""
        logits: torch.Tensor = self.out(torch.relu(self.value(rows)) * torch.sigmoid(self.gate(rows)))
        return logits


def test_a_module_of_ones_own_is_captured_with_its_weights(flare: Flare, flowers: str) -> None:
    model = flare.models.create_from_module(unique("gated"), Gated(), (4,), view=flowers)
    assert model.has_initial_weights
    version = flare.train(model, flowers, epochs=3, seed=1).wait()
    assert version.specification.WhichOneof("architecture") == "torch_graph"


def test_a_version_leaves_as_a_bundle_and_comes_back(flare: Flare, flowers: str, tmp_path: Path) -> None:
    model = flare.models.create(unique("iris"), flare_client.mlp([4]), view=flowers)
    version = flare.train(model, flowers, epochs=2, seed=1).wait()
    bundle = flare.models.export(model, tmp_path)
    assert bundle.parent == tmp_path
    again = flare.models.import_(unique("again"), bundle)
    assert again.digest == version.digest
    assert flare.models.export(version, tmp_path / "iris.onnx", format="onnx").stat().st_size > 0
    alias = flare.models.set_alias(model, "prod", 1)
    assert flare.models.version(f"{model.name}@prod").name == version.name
    assert [a.alias for a in alias.aliases] == ["prod"]


def test_a_cancelled_training_says_so(flare: Flare, flowers: str) -> None:
    model = flare.models.create(unique("iris"), flare_client.mlp([4]), view=flowers)
    job = flare.train(model, flowers, epochs=100_000, seed=1)
    next(job.epochs())
    job.cancel()
    with pytest.raises(FlareError, match="was cancelled") as raised:
        job.wait()
    assert raised.value.code is grpc.StatusCode.CANCELLED


def test_faults_are_told_with_their_place(flare: Flare, flowers: str) -> None:
    with pytest.raises(FlareError) as missing:
        flare.datasets.get("no-such-thing")
    assert missing.value.reason == "NOT_FOUND"
    dataset = flowers.partition("/views/")[0]
    with pytest.raises(FlareError, match="petals") as unknown:
        flare.views.create(dataset, "petals")
    assert unknown.value.reason == "COLUMN_NOT_FOUND"
    assert unknown.value.violations
    model = flare.models.create(unique("iris"), flare_client.mlp([4]), view=flowers)
    with pytest.raises(FlareError) as untrained:
        flare.predict(model, [{"a": 1}])
    assert untrained.value.reason == "NO_VERSION"


async def test_the_asynchronous_client_trains_two_models_at_once(
    flare_services: FlareServices, flare: Flare, flowers: str
) -> None:
    async with flare_aio.connect(**connection(flare_services)) as client:  # type: ignore[arg-type]

        async def trained(hidden: int) -> str:
            model = await client.models.create(unique("iris"), flare_client.mlp([hidden]), view=flowers)
            job = await client.train(model, flowers, epochs=2, seed=1)
            return (await job.wait()).name

        names = await asyncio.gather(trained(4), trained(8))
        assert len(set(names)) == 2


def test_the_notebook_runs_and_draws_the_curves(flare_services: FlareServices, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in flare_services.environment().items():
        if name.startswith("FLARE_"):
            monkeypatch.setenv(name, value)
    notebook = nbformat.read(ROOT / "clients" / "python" / "notebooks" / "learning_curves.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=100, kernel_name="python3").execute()
    pictures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 1
