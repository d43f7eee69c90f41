"""Trainings that start from the weights of a version, on the running services."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import flare_client
import numpy as np
import pandas as pd
import pytest
import torch
from flare.ml.v1 import model_pb2
from flare_client import Flare, FlareError, mlp
from safetensors.numpy import load_file

from tests.services import FlareServices

KINDS = ("setosa", "versicolor", "virginica")


def unique(name: str) -> str:
    """A name that no other test has."""
    return f"{name}-{uuid4().hex[:8]}"


def flowers(seed: int, kinds: tuple[str, ...] = KINDS, shift: float = 0.0, columns: str = "abcd") -> pd.DataFrame:
    """120 made flowers: columns of numbers around the centre of their kind."""
    chance = np.random.default_rng(seed)
    kind = np.arange(120) % len(kinds)
    table = {name: kind * (1 + place) + chance.normal(shift, 0.5, 120) for place, name in enumerate(columns)}
    return pd.DataFrame({**table, "kind": np.array(kinds)[kind]})


@dataclass
class World:
    """A connection and a model with a version."""

    flare: Flare
    directory: Path
    model: str
    view: str
    base: model_pb2.ModelVersion

    def view_of(self, table: pd.DataFrame) -> str:
        """A view of a table that is uploaded."""
        name = unique("flowers")
        table.to_csv(self.directory / f"{name}.csv", index=False)
        dataset = self.flare.datasets.upload(self.directory / f"{name}.csv", dataset_id=name)
        return self.flare.views.create(dataset, "kind", stratify="kind", seed=3).name

    def model_on(self, view: str, hidden: tuple[int, ...] = (16,)) -> str:
        """A new model that fits a view."""
        return self.flare.models.create(unique("tuned"), mlp(list(hidden)), view=view).name


@pytest.fixture(scope="module")
def world(flare_services: FlareServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    services = flare_services
    with flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    ) as flare:
        world = World(flare, tmp_path_factory.mktemp("flowers"), "", "", model_pb2.ModelVersion())
        world.view = world.view_of(flowers(1))
        world.model = world.model_on(world.view)
        world.base = flare.train(world.model, world.view, epochs=15, learning_rate=0.02, seed=1, device="cpu").wait()
        yield world


def accuracy(version: model_pb2.ModelVersion) -> float:
    return next(metric.value for metric in version.test_metrics if metric.name == "accuracy")


def test_a_fine_tune_starts_as_good_as_its_base_on_columns_in_another_order(world: World) -> None:
    flare = world.flare
    table = flowers(2, shift=0.3)[["kind", "d", "c", "b", "a"]]
    view = world.view_of(table)
    model = world.model_on(view)
    flare.models.set_alias(world.model, "best", 1)
    job = flare.train(
        model, view, base_version=f"{world.model}@best", epochs=1, optimizer="sgd", learning_rate=1e-12, device="cpu"
    )
    assert job.job.base_version == world.base.name == f"{world.model}/versions/1"
    tuned = job.wait()
    assert (tuned.base_version, world.base.base_version) == (world.base.name, "")
    assert flare.jobs.get_training(job.name).job.base_version == world.base.name
    # Same columns, same means, same classes: both versions say the same of any row.
    rows = table.drop(columns="kind")
    pd.testing.assert_frame_equal(flare.predict(tuned, rows), flare.predict(world.base, rows), atol=1e-5)
    assert accuracy(tuned) > 0.8
    fresh = flare.train(model, view, epochs=1, optimizer="sgd", learning_rate=1e-12, device="cpu", seed=5).wait()
    assert accuracy(fresh) < accuracy(tuned)


def test_a_base_that_does_not_fit_is_refused_with_the_names_of_its_weights(world: World) -> None:
    wider = world.model_on(world.view, (16, 8))
    with pytest.raises(FlareError, match=r"'layers.2.weight' has shape 3x16 but the network has 8x16") as caught:
        world.flare.train(wider, world.view, base_version=world.model)
    assert caught.value.reason == "WEIGHTS_MISMATCH"
    assert [violation.field for violation in caught.value.violations] == ["training_job.base_version"]
    assert "'layers.4.weight' missing: the network has it with shape 3x8" in caught.value.message
    more = world.view_of(flowers(3, columns="abcde"))
    with pytest.raises(FlareError, match=r"'layers.0.weight' has shape 16x4 but the network has 16x5"):
        world.flare.train(world.model_on(more), more, base_version=world.model)
    for base, reason in ((f"{world.model}@nobody", "NOT_FOUND"), (wider, "NO_VERSION")):
        with pytest.raises(FlareError) as unknown:
            world.flare.train(world.model, world.view, base_version=base)
        assert unknown.value.reason == reason


def test_classes_that_the_base_does_not_know_are_named(world: World) -> None:
    four = world.view_of(flowers(4, (*KINDS, "rosa")))
    with pytest.raises(FlareError, match=r"'kind' has 4 classes .* the base version knows 3: 'setosa', 'versicolor'"):
        world.flare.train(world.model_on(four), four, base_version=world.model)
    other = world.view_of(flowers(5, ("setosa", "rosa", "iris")))
    job = world.flare.train(world.model_on(other), other, base_version=world.model)
    with pytest.raises(FlareError, match="the base version does not know: 'iris', 'rosa'; it knows 'setosa'") as caught:
        job.wait()
    assert caught.value.reason == "WEIGHTS_MISMATCH"
    assert caught.value.violations[0].field == "training_job.base_version"


def test_a_base_version_stays_while_a_training_needs_it(world: World) -> None:
    flare = world.flare
    flare.train(world.model, world.view, epochs=1, device="cpu").wait()
    doomed = flare.models.version(world.model).name
    job = flare.train(world.model_on(world.view), world.view, base_version=doomed, epochs=1_000_000, device="cpu")
    next(iter(job.epochs()))
    with pytest.raises(FlareError, match=f"is needed by '{job.name}'") as used:
        flare.models.delete_version(doomed)
    assert used.value.reason == "RESOURCE_IN_USE"
    with pytest.raises(FlareError, match="is needed by 'trainingJobs/"):
        flare.models.delete(world.model)
    job.cancel()
    with pytest.raises(FlareError):
        job.wait()
    flare.models.delete_version(doomed)


def test_frozen_blocks_keep_their_weights_and_unknown_ones_are_refused(world: World, tmp_path: Path) -> None:
    flare = world.flare
    model = world.model_on(world.view)
    tuned = flare.train(
        model, world.view, base_version=world.base.name, frozen_blocks=["layers.0"], epochs=3, device="cpu"
    ).wait()
    before, after = (
        load_file(flare.models.export(version.name, tmp_path / f"{number}.safetensors", format="safetensors"))
        for number, version in enumerate((world.base, tuned))
    )
    moved = [name for name in sorted(after) if not np.array_equal(after[name], before[name])]
    assert moved == ["layers.2.bias", "layers.2.weight"]
    bundle = flare.models.export(tuned.name, tmp_path / "tuned.zip")
    imported = flare.models.import_(unique("imported"), bundle)
    assert (imported.digest, imported.base_version) == (tuned.digest, "")  # a name that may mean another one there
    with pytest.raises(FlareError, match=r"'layer.0' is no block .* its blocks are 'layers', 'layers.0', 'layers.2'"):
        flare.train(model, world.view, frozen_blocks=["layer.0"])
    with pytest.raises(FlareError, match="nothing is left to train") as caught:
        flare.train(model, world.view, frozen_blocks=["layers"])
    assert caught.value.violations[0].field == "training_job.plan.frozen_blocks"


def test_a_job_tells_what_its_weights_were_made_of_and_with(world: World) -> None:
    flare = world.flare
    made = flare.jobs.get_training(world.base.training_job).job
    record = made.record
    assert record.specification == flare.models.get(world.model).specification
    assert (record.device, record.weights_digest) == ("cpu", world.base.digest)
    assert record.library_versions["torch"] == torch.__version__
    assert (made.plan.seed, made.view_digest) == (1, world.base.view_digest)
    (listed,) = [job.job for job in flare.jobs.trainings() if job.name == made.name]
    assert listed.record.weights_digest == world.base.digest
    assert not listed.record.HasField("specification")  # many large ones are more than a message may hold


def test_a_job_that_is_detached_names_the_version_it_starts_from(world: World, flare_services: FlareServices) -> None:
    command = ["train", world.model, world.view, "--base-version", f"{world.model}/versions/1", "--epochs", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "flare_client.cli.main", *command, "--detach"],
        env=flare_services.environment(), check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert ["starts", "from", world.base.name] in [line.split() for line in done.stdout.splitlines()]
