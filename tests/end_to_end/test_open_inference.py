"""The Open Inference Protocol on the running services, by its contract."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import flare_client
import grpc
import numpy as np
import pytest
from flare.ml.v1 import engine_pb2
from flare.open_inference import grpc_service_pb2 as pb
from flare.open_inference import grpc_service_pb2_grpc
from flare_client import Flare
from numpy.typing import NDArray

from ml_server.prediction.tensors import Datatype, NamedTensor
from ml_server.rpc.inference_tensors import raw_contents, typed_contents
from tests.made_versions import CITIES, bundle_file, mixed_version, numbers_version
from tests.services import FlareServices

Infer = pb.ModelInferRequest


@dataclass
class World:
    """A connection, a bare stub with a token, and an imported model."""

    flare: Flare
    stub: grpc_service_pb2_grpc.GRPCInferenceServiceStub
    metadata: tuple[tuple[str, str], ...]
    mixed: str
    address: str
    folder: Path


@pytest.fixture(scope="module")
def world(flare_services: FlareServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """What the tests of this file share."""
    services = flare_services
    with (
        flare_client.connect(
            auth=services.auth_address,
            scraper=services.scraper_address,
            ml=services.ml_address,
            username=services.username,
            password=services.password,
        ) as flare,
        grpc.insecure_channel(services.ml_address) as channel,
    ):
        name = f"mixed-{uuid4().hex[:8]}"
        folder = tmp_path_factory.mktemp(name)
        flare.models.import_(name, bundle_file(mixed_version(), folder))
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        yield World(flare, stub, services.metadata(), name, services.ml_address, folder)


def tensor(name: str, datatype: Datatype, values: Any, shape: tuple[int, ...] | None = None) -> NamedTensor:
    """A tensor of a list of values, one a row if no shape is given."""
    if datatype is Datatype.BYTES:
        return NamedTensor(name, datatype, shape or (len(values), 1), values)
    flat: NDArray[Any] = np.asarray(values)
    return NamedTensor(name, datatype, shape or (len(flat), 1), flat.ravel())


def request(model: str, *tensors: NamedTensor, raw: bool = True, **fields: Any) -> Infer:
    """A request with raw or typed contents."""
    inputs = [
        Infer.InferInputTensor(
            name=each.name,
            datatype=each.datatype,
            shape=each.shape,
            contents=None if raw else typed_contents(each),
        )
        for each in tensors
    ]
    return Infer(
        model_name=model,
        inputs=inputs,
        raw_input_contents=[raw_contents(each) for each in tensors] if raw else (),
        **fields,
    )


def columns(**changed: NamedTensor | None) -> list[NamedTensor]:
    """Two good rows of the mixed model, with some columns changed or left out."""
    good = {
        "age": tensor("age", Datatype.FP64, [1.5, np.nan]),
        "count": tensor("count", Datatype.INT64, [3, 4]),
        "flag": tensor("flag", Datatype.BOOL, [True, False]),
        "day": tensor("day", Datatype.INT64, [86_400_000_000, 0]),
        "kind": tensor("kind", Datatype.BYTES, [b"a", b"other"]),
        "city": tensor("city", Datatype.BYTES, [CITIES[3].encode(), b""]),
    }
    return [each for each in (good | changed).values() if each is not None]


ROWS: list[dict[str, Any]] = [
    {"age": 1.5, "count": 3, "flag": True, "day": "1970-01-02T00:00:00", "kind": "a", "city": CITIES[3]},
    {"age": None, "count": 4, "flag": False, "day": "1970-01-01T00:00:00", "kind": "other", "city": ""},
]


def answers(response: pb.ModelInferResponse) -> dict[str, Any]:
    """The outputs of a raw answer by name, each in its shape."""
    found: dict[str, Any] = {}
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.datatype == "BYTES":
            texts, at = [], 0
            while at < len(raw):
                size = int.from_bytes(raw[at : at + 4], "little")
                texts.append(raw[at + 4 : at + 4 + size].decode())
                at += 4 + size
            found[output.name] = np.array(texts, dtype=object).reshape(tuple(output.shape))
        else:
            dtype = {"FP32": np.float32, "FP64": np.float64}[output.datatype]
            found[output.name] = np.frombuffer(raw, dtype).reshape(tuple(output.shape))
    return found


def test_columns_give_what_predict_gives(world: World) -> None:
    expected = world.flare.predict(world.mixed, ROWS)
    response = world.stub.ModelInfer(request(world.mixed, *columns(), id="seven"), metadata=world.metadata)
    assert (response.model_name, response.model_version, response.id) == (world.mixed, "1", "seven")
    found = answers(response)
    assert list(found) == ["species", "species_probabilities", "price"]
    assert found["species"].tolist() == [[label] for label in expected["species"]]
    probabilities = expected.filter(like="species_probability_").to_numpy()
    np.testing.assert_allclose(found["species_probabilities"], probabilities, rtol=1e-6)
    np.testing.assert_array_equal(found["price"].ravel(), expected["price"].to_numpy())


def test_typed_contents_are_answered_with_typed_contents(world: World) -> None:
    raw = answers(world.stub.ModelInfer(request(world.mixed, *columns()), metadata=world.metadata))
    response = world.stub.ModelInfer(request(world.mixed, *columns(), raw=False), metadata=world.metadata)
    assert not response.raw_output_contents
    species, probabilities, price = response.outputs
    assert [text.decode() for text in species.contents.bytes_contents] == raw["species"].ravel().tolist()
    assert list(probabilities.contents.fp32_contents) == raw["species_probabilities"].ravel().tolist()
    assert list(price.contents.fp64_contents) == raw["price"].ravel().tolist()
    assert list(probabilities.shape) == [2, 3]


async def test_calls_that_come_together_get_their_own_answers_and_errors(world: World) -> None:
    name = f"numbers-{uuid4().hex[:8]}"
    (world.folder / name).mkdir()
    world.flare.models.import_(name, bundle_file(numbers_version(3, (8,)), world.folder / name))
    table = np.random.default_rng(3).standard_normal((32, 8, 3)).astype(np.float32)
    table[5, 3, 1] = table[20, 6, 0] = np.inf
    wrong = {(5, 3), (20, 6)}
    async with grpc.aio.insecure_channel(world.address) as channel:
        stub: Any = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)

        async def ask(*place: int) -> tuple[str, bytes]:
            features = tensor("features", Datatype.FP32, table[place], (1, 3))
            message = request(name, features, id=f"call {place}")
            message.outputs.add(name="y_probabilities")
            try:
                response = await stub.ModelInfer(message, metadata=world.metadata)
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name}: {error.details()}", b""
            return response.id, bytes(response.raw_output_contents[0])

        async def client(number: int) -> list[tuple[str, bytes]]:
            return [await ask(number, call) for call in range(8)]

        alone = await client(0)
        together = await asyncio.gather(*map(client, range(32)))
    assert together[0] == alone
    whole = request(name, tensor("features", Datatype.FP32, np.where(np.isinf(table), 0, table), (256, 3)))
    response = world.stub.ModelInfer(whole, metadata=world.metadata)
    expected = answers(response)["y_probabilities"].reshape(32, 8, 2)
    for number, calls in enumerate(together):
        for call, (said, raw) in enumerate(calls):
            if (number, call) in wrong:
                assert said.startswith("INVALID_ARGUMENT: input 'features', row 0"), said
            else:
                assert said == f"call {(number, call)}"
                shares = np.frombuffer(raw, np.float32)
                np.testing.assert_allclose(shares, expected[number, call], rtol=1e-5, atol=1e-6)
    async with grpc.aio.insecure_channel(world.address) as channel:
        message = request(name, tensor("features", Datatype.FP32, table[0, 0], (1, 3)))
        message.outputs.add(name="z")
        asking: Any = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        refused = [asking.ModelInfer(message, metadata=world.metadata) for _ in range(20)]
        assert {await call.code() for call in refused} == {grpc.StatusCode.INVALID_ARGUMENT}
        assert {await call.details() for call in refused} == {
            "there is no output 'z': ask for 'y', 'y_probabilities', or none"
        }
    statistics = world.stub.ModelStatistics(pb.ModelStatisticsRequest(name=name), metadata=world.metadata)
    (counted,) = statistics.model_stats
    assert counted.inference_stats.success.count == 8 + 32 * 8 - 2 + 1
    assert counted.inference_stats.fail.count == 2 + 20
    assert counted.inference_count == 8 + 32 * 8 - 2 + 256


def test_a_moved_alias_counts_for_the_next_call(world: World) -> None:
    name = world.mixed
    world.flare.models.import_(name, world.flare.models.export(name, world.folder))
    for number in (1, 2, 1):
        world.flare.models.set_alias(name, "prod", number)
        sent = request(name, *columns(), model_version="prod")
        assert world.stub.ModelInfer(sent, metadata=world.metadata).model_version == str(number)
    sent = request(f"models/{name}/versions/2", *columns())
    assert world.stub.ModelInfer(sent, metadata=world.metadata).model_version == "2"
    versions = world.stub.ModelMetadata(pb.ModelMetadataRequest(name=name), metadata=world.metadata).versions
    assert list(versions) == ["1", "2"]


def test_the_platform_is_the_engine_that_serves_in_tritons_words(world: World) -> None:
    engine = engine_pb2.Engine.Name(world.flare.models.version(f"{world.mixed}/versions/1").engine.engine)
    metadata = world.stub.ModelMetadata(pb.ModelMetadataRequest(name=world.mixed, version="1"), metadata=world.metadata)
    config = world.stub.ModelConfig(
        pb.ModelConfigRequest(name=world.mixed, version="1"), metadata=world.metadata
    ).config
    assert metadata.platform == config.platform
    assert (engine, config.platform, config.backend) in (
        ("ENGINE_ONNXRUNTIME", "onnxruntime_onnx", "onnxruntime"),
        ("ENGINE_TORCH", "pytorch_libtorch", "pytorch"),
    )


def test_grpcurl_finds_and_calls_the_service_by_reflection(world: World) -> None:
    grpcurl = [str(Path(sys.executable).parent / "grpcurl"), "-plaintext"]
    for key, value in world.metadata:
        grpcurl += ["-H", f"{key}: {value}"]
    listed = subprocess.run([*grpcurl, world.address, "list"], capture_output=True, text=True, check=True).stdout
    assert "inference.GRPCInferenceService" in listed.splitlines()
    call = [*grpcurl, "-d", json.dumps({"name": world.mixed}), world.address]
    done = subprocess.run(
        [*call, "inference.GRPCInferenceService/ModelMetadata"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["inputs"][0] == {"name": "age", "datatype": "FP64", "shape": ["-1", "1"]}
