"""A column of weights, from an upload to what a model answers."""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import flare_client
import numpy as np
import pandas as pd
import pytest
from flare_client import Flare
from flare_client.cli.app import run as run_command

from tests.services import FlareServices


@pytest.fixture(scope="module")
def flare(flare_services: FlareServices) -> Iterator[Flare]:
    """A connection that the tests of this file share."""
    services = flare_services
    with flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    ) as connected:
        yield connected


@pytest.fixture(scope="module")
def dataset(flare: Flare) -> str:
    """Half of the rows say that y is high where x is, the other half the opposite; two columns weigh one half each."""
    x = np.random.default_rng(1).normal(size=600)
    turned = np.arange(600) % 2 == 1
    frame = pd.DataFrame(
        {
            "x": x,
            "straight_only": np.where(turned, 0.0, 1.5),
            "turned_more": np.where(turned, 30, 1),
            "y": np.where((x > 0) ^ turned, "high", "low"),
        }
    )
    return flare.datasets.upload(frame, dataset_id=f"halves-{uuid4().hex[:8]}").name


def test_weights_decide_what_a_model_answers(flare: Flare, dataset: str) -> None:
    asked = pd.DataFrame({"x": [-1.5, 1.5]})
    answers = {}
    for weight, other in (("straight_only", "turned_more"), ("turned_more", "straight_only")):
        view = flare.views.create(dataset, "y", weight=weight, drop=[other], seed=2)
        model = flare.models.create(f"halves-{uuid4().hex[:8]}", flare_client.mlp([8]), view=view)
        assert model.size.feature_count == 1
        job = flare.train(model, view, epochs=15, batch_size=16, learning_rate=0.03, seed=1)
        warnings = [event.warning.message for event in job.events() if event.WhichOneof("event") == "warning"]
        version = job.wait()
        assert [column.name for column in version.signature.inputs] == ["x"]
        answers[weight] = flare.predict(model, asked)["y"].tolist()
        without = [message for message in warnings if "training rows have weight 0" in message]
        assert len(without) == (weight == "straight_only"), warnings
    assert answers == {"straight_only": ["low", "high"], "turned_more": ["high", "low"]}


def test_the_command_names_the_column_of_weights(
    flare: Flare,
    dataset: str,
    flare_services: FlareServices,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in flare_services.environment().items():
        if name.startswith("FLARE_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("FLARE_CONFIG_DIR", str(tmp_path))
    short = dataset.removeprefix("datasets/")
    assert (
        run_command(["views", "create", short, "--target", "y", "--weight", "turned_more", "--id", "by-command"]) == 0
    )
    assert re.search(r"^weight +turned_more$", capsys.readouterr().out, re.MULTILINE)
    columns = flare.views.get(f"{short}/by-command").resolved_columns
    assert {column.name: column.role for column in columns}["turned_more"] == 4
