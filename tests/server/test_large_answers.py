"""Answers that no message can hold, over a real channel: refused before anything is computed, with what would fit."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from flare.ml.v1 import prediction_service_pb2, prediction_service_pb2_grpc
from flare.open_inference import grpc_service_pb2, grpc_service_pb2_grpc
from prometheus_client import CollectorRegistry

from ml_server.engines.engine import Features, Outputs
from ml_server.explanation.explainer import Explainer
from ml_server.prediction.batcher import Batcher
from ml_server.prediction.loaded_versions import LoadedVersions
from ml_server.prediction.predictor import Predictor
from ml_server.prediction.repository import Repository
from ml_server.prediction.served_version import ServedVersion
from ml_server.prediction.statistics import Statistics
from ml_server.registry.bundle import write_bundle
from ml_server.registry.known_versions import KnownVersions
from ml_server.registry.sql import SqlModelStore
from ml_server.rpc.inference_servicer import SCOPES, InferenceServicer
from ml_server.rpc.prediction_servicer import PredictionServicer
from servicekit.artifacts import FolderArtifacts
from servicekit.database import Database
from servicekit.images.decoding import ImageDecoder
from servicekit.readiness import Readiness
from servicekit.server import Registration, RpcServer
from servicekit.settings import ServerSettings
from tests.made_versions import mixed_version
from tests.tokens import TokenIssuer

MESSAGE_BYTES = 1 << 20
INFERENCE = grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
PREDICTION = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"]
# One byte of each value, so that a request is smaller than its answer.
COLUMNS = {"age": "INT8", "count": "INT8", "flag": "BOOL", "day": "INT8", "kind": "UINT8", "city": "UINT8"}
Infer = grpc_service_pb2.ModelInferRequest


@dataclass
class Served:
    """A server with a version of the model `mixed`, and how many rows its network has computed."""

    inference: Any
    prediction: Any
    metadata: tuple[tuple[str, str], ...]
    computed: list[int]

    async def infer(self, rows: int, *outputs: str, top: int = 0, formed: bool = False) -> Any:
        """Asks for some outputs; `formed` in the form that is read without a look into the message."""
        return await self.inference.ModelInfer(infer_request(rows, *outputs, top=top, formed=formed), **self._call())

    async def stream(self, *rows: int) -> list[Any]:
        """The answers to several requests over one stream."""
        requests = (infer_request(each) for each in rows)
        return [each async for each in self.inference.ModelStreamInfer(requests, **self._call())]

    async def predict(self, rows: int, top: int = 0) -> Any:
        """Predict."""
        request = prediction_service_pb2.PredictRequest(name="models/mixed", columns=table(rows), top=top)
        return await self.prediction.Predict(request, **self._call())

    async def predict_stream(self, rows: int) -> Any:
        """PredictStream with one request."""
        request = prediction_service_pb2.PredictRequest(name="models/mixed", columns=table(rows))
        requests = iter([prediction_service_pb2.PredictStreamRequest(request=request)])
        (answer,) = [each async for each in self.prediction.PredictStream(requests, **self._call())]
        return answer

    async def explain(self, rows: int) -> Any:
        """Explain, with a step for each row."""
        request = prediction_service_pb2.ExplainRequest(
            name="models/mixed", columns=table(rows), target="species", steps=1
        )
        return await self.prediction.Explain(request, **self._call())

    def _call(self) -> dict[str, Any]:
        return {"metadata": self.metadata}


def infer_request(rows: int, *outputs: str, top: int = 0, formed: bool = False) -> Infer:
    """Zeros in all columns."""
    datatypes = dict.fromkeys(COLUMNS, "INT8") if formed else COLUMNS
    request = Infer(
        model_name="mixed",
        inputs=[
            Infer.InferInputTensor(name=name, datatype=datatype, shape=[rows, 1])
            for name, datatype in datatypes.items()
        ],
        raw_input_contents=[bytes(rows)] * len(datatypes),
    )
    for output in outputs:
        request.outputs.add(name=output)
        if top:
            request.outputs[-1].parameters["classification"].int64_param = top
    return request


def table(rows: int) -> prediction_service_pb2.ColumnTable:
    """Zeros in all columns."""
    zeros = prediction_service_pb2.Int64Values(values=np.zeros(rows, np.int64))
    columns = [prediction_service_pb2.ColumnValues(name=name, integers=zeros) for name in COLUMNS]
    return prediction_service_pb2.ColumnTable(columns=columns)


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token_issuer: TokenIssuer) -> AsyncIterator[Served]:
    computed: list[int] = []
    run = ServedVersion.run

    def counted(version: ServedVersion, features: Features) -> Outputs:
        computed.append(len(features))
        return run(version, features)

    monkeypatch.setattr(ServedVersion, "run", counted)
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/ml.db")
    await database.migrate("ml_server:migrations")
    store, artifacts, statistics = SqlModelStore(database), FolderArtifacts(tmp_path / "artifacts"), Statistics()
    bundle = mixed_version()
    write_bundle(tmp_path / "artifacts" / "mixed", bundle)
    model = await store.create("accounts/ann", "mixed", "", bundle.model.config.specification, None)
    await store.add_version(model, bundle.details, 1, "mixed")
    versions, loaded, readiness = KnownVersions(store), LoadedVersions(artifacts, 1 << 20), Readiness(database)
    batcher, images = Batcher(2, 1 << 26), ImageDecoder(100)
    predictor = Predictor(versions, loaded, batcher, images, statistics)
    repository = Repository(store, versions, artifacts, loaded, statistics)
    inference = InferenceServicer(predictor, repository, readiness, "1.2.3", MESSAGE_BYTES)
    prediction = PredictionServicer(predictor, Explainer(versions, loaded, images, MESSAGE_BYTES), MESSAGE_BYTES)
    add_inference = partial(grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, inference)
    add_prediction = partial(prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server, prediction)
    server = RpcServer(
        ServerSettings(listen_address="127.0.0.1:0", max_message_bytes=MESSAGE_BYTES, lame_duck_seconds=0),
        [
            Registration(INFERENCE, add_inference, codecs=inference.codecs, scopes=SCOPES),
            Registration(PREDICTION, add_prediction),
        ],
        token_issuer.verifier,
        registry=CollectorRegistry(),
        readiness=readiness,
    )
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(
            grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel),
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            token_issuer.metadata(),
            computed,
        )
    await server.drain()
    batcher.close()
    await database.close()


Ask = Callable[[Served, int], Any]


@pytest.mark.parametrize(
    ("ask", "remedy"),
    [
        (lambda served, rows: served.infer(rows), "or for fewer outputs"),
        (lambda served, rows: served.infer(rows, formed=True), "or for fewer outputs"),
        (lambda served, rows: served.infer(rows, "species_probabilities", "price"), "or for fewer outputs"),
        (lambda served, rows: served.infer(rows, "species_probabilities", top=2), "or for fewer outputs"),
        (lambda served, rows: served.predict(rows), "or for a few classes of each with `top`"),
        (lambda served, rows: served.predict(rows, top=2), "or for a few classes of each with `top`"),
        (lambda served, rows: served.predict_stream(rows), "or for a few classes of each with `top`"),
        (lambda served, rows: served.explain(rows), ""),
    ],
)
async def test_as_many_rows_as_the_refusal_names_are_answered_and_one_more_is_not_even_computed(
    served: Served, ask: Ask, remedy: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ask(served, 90_000)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = refused.value.details() or ""
    told = re.match(r"the answer to 90000 rows takes up to (\d+) bytes, and messages have at most 1048576 ", details)
    assert told is not None, details
    assert int(told[1]) > MESSAGE_BYTES
    assert details.endswith(remedy)
    fitting = re.search(r"ask for (\d+) rows at a time", details)
    assert fitting is not None, details
    most = int(fitting[1])
    warm_up = sum(served.computed)  # loading a version computes once
    with pytest.raises(grpc.aio.AioRpcError, match=f"the answer to {most + 1} rows takes up to"):
        await ask(served, most + 1)
    assert sum(served.computed) == warm_up
    answer = await ask(served, most)
    assert 0.7 * MESSAGE_BYTES < answer.ByteSize() <= MESSAGE_BYTES
    assert sum(served.computed) >= warm_up + most


async def test_a_stream_goes_on_after_a_request_whose_answer_is_too_large(served: Served) -> None:
    first, large, last = await served.stream(1, 90_000, 2)
    assert "the answer to 90000 rows takes up to" in large.error_message
    assert [each.infer_response.outputs[0].shape[0] for each in (first, last)] == [1, 2]


async def test_errors_of_rows_that_fill_a_message_are_refused_in_words(served: Served) -> None:
    columns = table(10_000)
    for column in columns.columns:
        if column.name == "count":
            column.texts.values.extend(["word" * 10] * 10_000)
    request = prediction_service_pb2.PredictRequest(name="models/mixed", columns=columns, partial=True)
    with pytest.raises(grpc.aio.AioRpcError, match="the answer to 10000 rows, 10000 of them with an error") as refused:
        await served.prediction.Predict(request, metadata=served.metadata)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_batch_of_the_greatest_size_fits_into_a_request_and_its_answer_and_hardly_more(served: Served) -> None:
    config = await served.inference.ModelConfig(
        grpc_service_pb2.ModelConfigRequest(name="mixed"), metadata=served.metadata
    )
    rows = config.config.max_batch_size
    texts = {name: len(value).to_bytes(4, "little") + value for name, value in (("kind", b"0.1"), ("city", b"city 10"))}
    datatypes = {"age": "FP64", "count": "INT64", "flag": "BOOL", "day": "INT64", "kind": "BYTES", "city": "BYTES"}
    request = Infer(model_name="mixed")
    for name, datatype in datatypes.items():
        request.inputs.add(name=name, datatype=datatype, shape=[rows, 1])
        value = texts.get(name, bytes(1 if datatype == "BOOL" else 8))
        request.raw_input_contents.append(value * rows)
    assert 0.98 * MESSAGE_BYTES < request.ByteSize() <= MESSAGE_BYTES
    answer = await served.inference.ModelInfer(request, metadata=served.metadata)
    assert answer.outputs[0].shape[0] == rows


@pytest.mark.parametrize("rows", [1, 5_000])
@pytest.mark.parametrize("formed", [False, True])
async def test_an_output_that_there_is_not_is_refused_before_anything_is_computed(
    served: Served, rows: int, formed: bool
) -> None:
    await served.infer(1)
    computed = list(served.computed)
    for outputs, top, text in (
        (("price", "size"), 0, "there is no output 'size': ask for 'species', 'species_probabilities', 'price', or"),
        (("price",), 1, "output 'price' has no classes to choose the best of"),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match=text) as refused:
            await served.infer(rows, *outputs, top=top, formed=formed)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert served.computed == computed
    asked = grpc_service_pb2.ModelStatisticsRequest(name="mixed")
    (counted,) = (await served.inference.ModelStatistics(asked, metadata=served.metadata)).model_stats
    assert (counted.inference_count, counted.inference_stats.success.count) == (1, 1)
