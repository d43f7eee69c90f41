"""Images from an archive to the answers of a network, on the running services."""

import base64
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import flare_client
import numpy as np
import pytest
from flare.scraper.v1 import dataset_pb2
from flare_client import Flare, FlareError, block, cnn, mlp
from PIL import Image, ImageDraw

from tests.services import FlareServices

SHAPES = ("circle", "cross", "square")
SIDE = 32
COUNT = 300


@pytest.fixture(scope="module")
def flare(flare_services: FlareServices) -> Iterator[Flare]:
    """A connection."""
    services = flare_services
    with flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    ) as connected:
        yield connected


def drawn(shape: str, seed: int) -> bytes:
    """A PNG of a shape at some place, in some brightness, before a noisy background."""
    chance = np.random.default_rng(seed)
    image = Image.fromarray(chance.integers(0, 60, (SIDE, SIDE), dtype=np.uint8))
    draw = ImageDraw.Draw(image)
    left, top = (int(each) for each in chance.integers(1, 12, 2))
    right, bottom = left + 18, top + 18
    level = int(chance.integers(120, 255))
    if shape == "circle":
        draw.ellipse((left, top, right, bottom), outline=level, width=3)
    elif shape == "square":
        draw.rectangle((left, top, right, bottom), outline=level, width=3)
    else:
        draw.line((left, top, right, bottom), fill=level, width=3)
        draw.line((left, bottom, right, top), fill=level, width=3)
    sink = BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def test_an_archive_of_images_becomes_a_network_that_knows_them(
    flare: Flare, flare_services: FlareServices, tmp_path: Path
) -> None:
    name = f"shapes-{uuid4().hex[:8]}"
    archive = tmp_path / f"{name}.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for number in range(COUNT):
            shape = SHAPES[number % 3]
            packed.writestr(f"shapes/{shape}/{number}.png", drawn(shape, number))
        packed.writestr("shapes/circle/broken.png", b"no image")
    dataset = flare.datasets.upload(
        archive, dataset_id=name, image_size=(16, 16), image_mode="grayscale", image_resizing="pad"
    )
    assert (dataset.row_count, [column.name for column in dataset.columns]) == (COUNT, ["image", "label", "path"])
    assert dataset.format.kind == dataset_pb2.FileFormat.KIND_IMAGES
    assert dataset.columns[0].image.resizing == dataset_pb2.IMAGE_RESIZING_PAD
    assert dataset.columns[0].statistics.image.minimum_height == SIDE
    broken = next(each for each in dataset.warnings if each.kind == dataset_pb2.DatasetWarning.KIND_IMAGES_BROKEN)
    assert broken.examples[0].value.startswith("shapes/circle/broken.png: it is no image")

    view = flare.views.create(dataset, "label", drop=["path"], stratify="label", seed=3)
    with pytest.raises(FlareError, match=r"image 3x16x16 .* is not what the view's image column holds, 1x16x16"):
        flare.models.create(f"{name}-colour", cnn((3, 16, 16), [block(8)]), view=view)
    model = flare.models.create(name, cnn(blocks=[block(16, pooling="max"), block(32, pooling="max")]), view=view)
    trained = flare.train(model, view, epochs=25, learning_rate=0.01, seed=1, device="cpu").wait()
    (column,) = trained.signature.inputs
    assert (column.name, column.image.height, column.image.resizing) == ("image", 16, dataset_pb2.IMAGE_RESIZING_PAD)
    accuracy = next(metric.value for metric in trained.test_metrics if metric.name == "accuracy")
    assert accuracy > 0.9

    files = []
    for number, shape in enumerate(SHAPES):
        files.append(tmp_path / f"{shape}.png")
        files[-1].write_bytes(drawn(shape, COUNT + number))
    by_path = flare.predict(model, {"image": files})
    encoded = [file.read_bytes() for file in files]
    by_bytes = flare.predict(model, {"image": encoded})
    by_base64 = flare.predict(model, {"image": [base64.b64encode(each).decode() for each in encoded]})
    assert list(by_path["label"]) == list(SHAPES)
    assert by_path.equals(by_bytes)
    assert by_path.equals(by_base64)

    test_rows = flare.datasets.to_dataframe(view, "test")
    again = flare.predict(model, test_rows.drop(columns="label"))
    assert (again["label"] == test_rows["label"]).mean() == pytest.approx(accuracy, abs=1e-6)
    with pytest.raises(FlareError, match="column 'image', row 1: the value is no image") as caught:
        flare.predict(model, {"image": [encoded[0], encoded[0][:50]]})
    assert caught.value.reason == "VALUE_INVALID"
    told = subprocess.run(
        [sys.executable, "-m", "flare_client.cli.main", "predict", name, "--image", files[1], "--output", "json"],
        env=flare_services.environment(), check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(told.stdout)["predictions"][0]["label"] == SHAPES[1]

    linear = flare.models.create(f"{name}-linear", mlp([]), view=view)
    flare.train(linear, view, epochs=1, seed=1, device="cpu").wait()
    assert len(flare.predict(linear, {"image": files})) == len(files)
