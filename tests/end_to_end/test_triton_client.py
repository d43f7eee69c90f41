"""NVIDIA's unmodified Triton client against the running services: every way in which it calls a server."""

import json
import subprocess
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import flare_client
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ml_server.features.columns import ImageColumn
from ml_server.prediction.answers import Regression, answers_of
from ml_server.prediction.inputs import ColumnInputs
from ml_server.prediction.raw import RawColumn
from ml_server.prediction.served_version import ServedVersion
from servicekit.images.decoding import ImageDecoder
from tests.made_versions import CITIES, PIXELS, bundle_file, image_version, mixed_version
from tests.services import FlareServices
from tests.triton_client.environment import triton_python

pytestmark = pytest.mark.timeout(240)  # the first one installs the client

DRIVER = Path(__file__).parents[1] / "triton_client" / "driver.py"
CALLS = 20
DECODER = ImageDecoder(max_pixels=10_000)
Found = dict[str, Any]


@dataclass
class Driven:
    """What the client got, and what it should have got by the same networks without a server."""

    found: Found
    mixed_name: str
    images_name: str
    mixed: ServedVersion
    images: ServedVersion

    def mixed_answer(self, **changed: RawColumn) -> Found:
        """The answer for the driver's two rows, with some columns changed."""
        rows = {
            "age": RawColumn(np.array([1.5, np.nan])),
            "count": RawColumn(np.array([3, 4])),
            "flag": RawColumn(np.array([True, False])),
            "day": RawColumn(np.array([86_400_000_000, 0])),
            "kind": RawColumn(["a", "other"]),
            "city": RawColumn([CITIES[3], ""]),
        }
        return answer(self.mixed, self.mixed_features(rows | changed))

    def mixed_features(self, rows: dict[str, RawColumn]) -> NDArray[np.float32]:
        return ColumnInputs(rows).features(self.mixed.features, DECODER, "the version")

    def price(self, count: int) -> float:
        """The price of the driver's row of this count."""
        columns = {
            "age": RawColumn(np.array([1.5])),
            "count": RawColumn(np.array([count])),
            "flag": RawColumn(np.array([True])),
            "day": RawColumn(np.array([0])),
            "kind": RawColumn(["a"]),
            "city": RawColumn([CITIES[3]]),
        }
        ((value,),) = answer(self.mixed, self.mixed_features(columns))["price"]
        return float(value)


def answer(served: ServedVersion, features: NDArray[np.float32]) -> Found:
    """What an answer holds, as lists."""
    found: Found = {}
    for each in answers_of(served.targets, served.run(features)):
        if isinstance(each, Regression):
            found[each.target] = each.values[:, None].tolist()
        else:
            found[each.target] = [[each.classes[label]] for label in each.labels.tolist()]
            found[f"{each.target}_probabilities"] = each.probabilities.tolist()
    return found


def same(given: Found, expected: Found) -> bool:
    """Labels are equal, and numbers but for rounding."""
    assert list(given) == list(expected)
    for name, values in expected.items():
        if isinstance(values[0][0], str):
            assert given[name] == values
        else:
            np.testing.assert_allclose(given[name], values, rtol=1e-4, atol=1e-6)
    return True


@pytest.fixture(scope="module")
def driven(flare_services: FlareServices, tmp_path_factory: pytest.TempPathFactory) -> Driven:
    """The driver's run against two models: one of a table, one of images."""
    services = flare_services
    names = [f"{name}-{uuid4().hex[:8]}" for name in ("mixed", "images")]
    served = []
    with flare_client.connect(
        auth=services.auth_address,
        scraper=services.scraper_address,
        ml=services.ml_address,
        username=services.username,
        password=services.password,
    ) as flare:
        for name, bundle in zip(names, (mixed_version(), image_version()), strict=True):
            folder = tmp_path_factory.mktemp(name)
            flare.models.import_(name, bundle_file(bundle, folder))
            served.append(ServedVersion.read(folder / "bundle"))
        flare.models.set_alias(names[0], "prod", 1)
    features = np.zeros((3, served[0].features.layout.columns), np.float32)
    features[:, -1] = [0, 7, 20]  # the codes of cities, the last one for those not known
    token = dict(services.metadata())["authorization"].removeprefix("Bearer ")
    command = [str(triton_python()), str(DRIVER), services.ml_address, token, *names]
    given = {
        "features": features.tolist(),
        "pixels": pixels().tolist(),
        "files": [png(each).hex() for each in pixels()],
    }
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return Driven(json.loads(done.stdout), names[0], names[1], served[0], served[1])


def pixels() -> NDArray[np.uint8]:
    """Three images (3, height, width, channels)."""
    shape = (3, PIXELS.height, PIXELS.width, PIXELS.mode.channels)
    return np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    sink = BytesIO()
    Image.fromarray(image).save(sink, "PNG")
    return sink.getvalue()


def test_health_is_open_and_versions_are_found_by_number_and_alias(driven: Driven) -> None:
    health = driven.found["health"]
    assert [name for name, answer in health.items() if answer] == ["live", "ready", "model", "version", "alias"]


def test_the_server_describes_itself_and_its_models(driven: Driven) -> None:
    told = driven.found["descriptions"]
    assert told["server"]["name"] == "flare"
    assert {"classification", "model_repository", "statistics"} <= set(told["server"]["extensions"])
    metadata = told["metadata"]
    assert (metadata["name"], metadata["versions"]) == (driven.mixed_name, ["1"])
    assert [(each["name"], each["datatype"], each["shape"]) for each in metadata["inputs"]] == [
        ("age", "FP64", ["-1", "1"]),
        ("count", "INT64", ["-1", "1"]),
        ("flag", "BOOL", ["-1", "1"]),
        ("day", "INT64", ["-1", "1"]),
        ("kind", "BYTES", ["-1", "1"]),
        ("city", "BYTES", ["-1", "1"]),
    ]
    assert [(each["name"], each["datatype"], each["shape"]) for each in metadata["outputs"]] == [
        ("species", "BYTES", ["-1", "1"]),
        ("species_probabilities", "FP32", ["-1", "3"]),
        ("price", "FP64", ["-1", "1"]),
    ]
    config = told["config"]
    assert 380_000 < config["max_batch_size"] < (16 << 20) // 43  # bytes of a row: 8 + 8 + 1 + 8 + (4 + 3) + (4 + 7)
    assert [(each["name"], each["data_type"], each["dims"]) for each in config["output"]] == [
        ("species", "TYPE_STRING", ["1"]),
        ("species_probabilities", "TYPE_FP32", ["3"]),
        ("price", "TYPE_FP64", ["1"]),
    ]
    width = driven.mixed.features.layout.columns
    assert config["parameters"]["features"]["string_value"] == f"FP32 [-1,{width}]"
    assert told["index"] == [
        {"name": name, "version": "1", "state": "READY"} for name in (driven.images_name, driven.mixed_name)
    ]
    assert (told["shared_memory"], told["cuda_shared_memory"]) == ({}, {})


def test_a_table_by_columns(driven: Driven) -> None:
    columns, expected = driven.found["columns"], driven.mixed_answer()
    assert columns["names"] == [driven.mixed_name, "1", "seven"]
    assert columns["shapes"] == [["BYTES", 2, 1], ["FP32", 2, 3], ["FP64", 2, 1]]
    for form in ("answer", "gzip"):
        assert same(columns[form], expected)
    assert same(columns["flat"], expected)


def test_outputs_are_chosen_and_probabilities_become_the_best_classes(driven: Driven) -> None:
    chosen, expected = driven.found["columns"]["chosen"], driven.mixed_answer()
    assert list(chosen) == ["species_probabilities", "price"]
    classes = driven.mixed.targets.targets[0].classes
    for texts, probabilities in zip(chosen["species_probabilities"], expected["species_probabilities"], strict=True):
        best = np.argsort(probabilities)[::-1][:2].tolist()
        read = [text.split(":") for text in texts]
        assert [(int(index), label) for _, index, label in read] == [(index, classes[index]) for index in best]
        np.testing.assert_allclose([float(value) for value, _, _ in read], np.array(probabilities)[best], atol=1e-6)


def test_every_datatype_means_the_same_number(driven: Driven) -> None:
    flags = RawColumn(np.array([True, False]))
    expected = driven.mixed_answer(count=RawColumn(np.array([1, 0])), flag=flags)
    answers = driven.found["datatypes"]
    assert set(answers) == {
        *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
        *("FP16", "BF16", "FP32", "FP64", "BYTES"),
    }
    for answer in answers.values():
        assert same(answer, expected)


def test_prepared_features_take_the_place_of_all_columns(driven: Driven) -> None:
    features = np.zeros((3, driven.mixed.features.layout.columns), np.float32)
    features[:, -1] = [0, 7, 20]
    assert same(driven.found["features"]["mixed"], answer(driven.mixed, features))


def test_images_are_encoded_or_pixels_or_features(driven: Driven) -> None:
    levels = pixels().transpose(0, 3, 1, 2).astype(np.float32).reshape(3, -1)
    as_features = answer(driven.images, levels)
    for form in ("levels", "flat_levels"):
        assert same(driven.found["features"][form], as_features)
    flat = pixels().reshape(3, -1)
    expected = answer(driven.images, driven.images.features.transform({"image": ImageColumn([flat])}))
    assert same(driven.found["features"]["pixels"], expected)
    assert same(driven.found["encoded"], expected)


def test_calls_in_flight_together_get_their_own_answers(driven: Driven) -> None:
    prices = [driven.price(count) for count in range(CALLS)]
    assert len(set(prices)) == CALLS
    for number, (sent, found) in enumerate(driven.found["asynchronous"]):
        assert sent == str(number)
        np.testing.assert_allclose(found["price"], [[prices[number]]], rtol=1e-5)
    for number, found in enumerate(driven.found["asyncio"]["together"]):
        np.testing.assert_allclose(found["price"], [[prices[number]]], rtol=1e-5)


def test_a_stream_answers_in_order_and_goes_on_after_a_bad_request(driven: Driven) -> None:
    answers = driven.found["stream"]
    assert len(answers) == CALLS
    assert "column 'city' is missing" in answers.pop(3)
    assert [sent for sent, _, _ in answers] == [str(number) for number in range(CALLS) if number != 3]
    assert [sent for sent, final, _ in answers if final] == ["5"]
    for sent, _, found in answers:
        np.testing.assert_allclose(found["price"], [[driven.price(int(sent))]], rtol=1e-5)
    for number, found in enumerate(driven.found["asyncio"]["streamed"]):
        np.testing.assert_allclose(found["price"], [[driven.price(number)]], rtol=1e-5)


def test_a_model_leaves_memory_and_comes_back_and_is_counted(driven: Driven) -> None:
    memory = driven.found["memory"]
    for found in memory["answers"]:
        assert same(found, driven.mixed_answer())
    assert (memory["rows"], memory["success"], memory["failure"]) == (6, 3, 1)
    assert memory["nanoseconds"] > 0
    assert memory["last_inference"] > 1e12
    assert {driven.mixed_name, driven.images_name} <= set(memory["all"])


@pytest.mark.parametrize(
    ("case", "status", "text"),
    [
        ("no token", "UNAUTHENTICATED", "the call has no token"),
        ("bad token", "UNAUTHENTICATED", ""),
        ("no model", "NOT_FOUND", "no model 'models/nobody'"),
        ("no version", "NOT_FOUND", "no version 'models/"),
        ("no alias", "NOT_FOUND", "@beta'"),
        ("no name", "INVALID_ARGUMENT", "'Not A Name' names no model"),
        ("version twice", "INVALID_ARGUMENT", "so the version '1' has to be left out"),
        ("shape", "INVALID_ARGUMENT", "input 'age' is FP64 [2,3]: send FP64 [-1,1] or FP64 [-1]"),
        ("rows differ", "INVALID_ARGUMENT", "'age' is FP64 [3,1], and 'count' is INT64 [2,1]: send FP64 [2,1]"),
        ("no rows", "INVALID_ARGUMENT", "input 'age' is FP64 [0,1]: the first dimension is that of the rows"),
        ("too many rows", "INVALID_ARGUMENT", "input 'count' is INT8 [1000001,1]: the first dimension is that"),
        ("missing", "INVALID_ARGUMENT", "column 'age' is missing"),
        ("unknown", "INVALID_ARGUMENT", "column 'size' is not known"),
        ("value", "INVALID_ARGUMENT", "column 'count', row 0: the value is missing"),
        ("text", "INVALID_ARGUMENT", "column 'kind', row 0: the value is no text in UTF-8"),
        (
            "features beside columns",
            "INVALID_ARGUMENT",
            "input 'features' takes the place of all columns: send it alone",
        ),
        ("input in shared memory", "INVALID_ARGUMENT", "input 'age' lies in shared memory, which this server does not"),
        ("features", "INVALID_ARGUMENT", "input 'features' is FP32 [2,3]: send FP32 [-1,"),
        ("features type", "INVALID_ARGUMENT", "input 'features' is BOOL [1,1]: send FP32 [-1,"),
        (
            "output",
            "INVALID_ARGUMENT",
            "there is no output 'size': ask for 'species', 'species_probabilities', 'price'",
        ),
        ("classes", "INVALID_ARGUMENT", "output 'price' has no classes"),
        (
            "image",
            "INVALID_ARGUMENT",
            "input 'image' is UINT8 [1,9,9,3]: send BYTES [-1,1] or BYTES [-1] or UINT8 [-1,4",
        ),
        ("image type", "INVALID_ARGUMENT", "input 'image' is FP32 [1,4,5,3]: send BYTES [-1,1]"),
        ("message", "RESOURCE_EXHAUSTED", "larger than max"),
        ("metadata", "NOT_FOUND", "no model 'models/nobody'"),
        ("load", "NOT_FOUND", "no model 'models/nobody'"),
        ("load with config", "INVALID_ARGUMENT", "leave out the parameters"),
        ("shared memory", "UNIMPLEMENTED", "send tensors in the message"),
        ("trace", "UNIMPLEMENTED", "see the metrics"),
        ("log", "UNIMPLEMENTED", "the server's settings"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(driven: Driven, case: str, status: str, text: str) -> None:
    refusal = driven.found["refusals"][case]
    assert refusal["status"] == f"StatusCode.{status}"
    assert text in refusal["message"]
