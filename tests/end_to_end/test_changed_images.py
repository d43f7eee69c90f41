"""Trainings that change their images, on the running services."""

import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import flare_client
import pandas as pd
import pytest
from flare.ml.v1 import specification_pb2
from flare_client import Flare, FlareError, block, cnn, mlp
from sklearn.datasets import load_digits

from tests.services import FlareServices


@pytest.fixture(scope="module")
def flare(flare_services: FlareServices) -> Iterator[Flare]:
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
def view(flare: Flare, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digits of 8 x 8 pixels, a column for each."""
    digits = load_digits()
    table = pd.DataFrame(digits.data, columns=[f"p{number:02d}" for number in range(64)])
    table["digit"] = [f"is {digit}" for digit in digits.target]
    file = tmp_path_factory.mktemp("digits") / "digits.csv"
    table.to_csv(file, index=False)
    dataset = flare.datasets.upload(file, dataset_id=f"digits-{uuid4().hex[:8]}")
    return flare.views.create(dataset, "digit", stratify="digit", seed=1).name


def test_a_network_learns_from_changed_images_and_knows_unchanged_ones(
    flare: Flare, flare_services: FlareServices, view: str
) -> None:
    blocks = [block(16, pooling="max"), block(32, pooling="max")]
    network = cnn((1, 8, 8), blocks)
    network.preprocessing.numeric_encoding = specification_pb2.ENCODING_PASS_THROUGH
    model = flare.models.create(f"cnn-{uuid4().hex[:8]}", network, view=view).name
    changes = {"crop_padding": 1, "rotation_degrees": 10.0, "brightness": 0.2, "contrast": 0.2}
    job = flare.train(model, view, augmentation=changes, epochs=8, learning_rate=0.01, seed=1, device="cpu")
    assert job.job.plan.augmentation.rotation_degrees == 10
    accuracy = next(metric.value for metric in job.wait().test_metrics if metric.name == "accuracy")
    assert accuracy > 0.95
    command = ["train", model, view, "--epochs", "1", "--augment", "vertical_flip=0.5", "--freeze", "blocks"]
    command += ["--base-version", f"{model}/versions/1"]
    done = subprocess.run(
        [sys.executable, "-m", "flare_client.cli.main", *command],
        env=flare_services.environment(), check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert f"{model}/versions/2" in done.stdout
    version = flare.models.version(f"{model}/versions/2")
    plan = flare.jobs.get_training(version.training_job).job.plan
    assert (plan.augmentation.vertical_flip, list(plan.frozen_blocks)) == (0.5, ["blocks"])
    assert version.base_version == f"{model}/versions/1"
    with pytest.raises(FlareError, match="saturation is for images of 3 channels") as refused:
        flare.train(model, view, augmentation={"saturation": 0.5})
    assert refused.value.violations[0].field == "training_job.plan.augmentation.saturation"


def test_a_model_that_sees_no_images_has_none_to_change(flare: Flare, view: str) -> None:
    model = flare.models.create(f"mlp-{uuid4().hex[:8]}", mlp([8]), view=view)
    with pytest.raises(FlareError, match="this model sees none: leave it out"):
        flare.train(model, view, augmentation={"horizontal_flip": 0.5})
