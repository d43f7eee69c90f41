"""How fast tables of raw columns are predicted: a whole view, a stream of pieces, and a request in this process."""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pandas as pd
from flare.ml.v1 import prediction_service_pb2 as pb

from benchmarks.figures import Figure
from benchmarks.serving_service import COLUMNS, HIDDEN_UNITS, ServingService, serving_service
from benchmarks.sizes import Sizes
from ml_server.__main__ import KEPT_BYTES
from ml_server.engines.choice import choose_engine, made_rows
from ml_server.prediction.answers import answers_of
from ml_server.prediction.inputs import ColumnInputs
from ml_server.prediction.raw import RawColumn
from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.bundle import ENGINE_FILE, write_bundle, write_details
from servicekit.allocator import keep_freed_memory
from servicekit.images.decoding import ImageDecoder
from tests.made_versions import numbers_version

STREAM = "/flare.ml.v1.PredictionService/PredictStream"
PIECE_ROWS = 1_024
STREAM_TARGET = 300_000.0
# A request's raw columns may take so many times as long as the network alone.
LIMITS = {1: 2.0, 256: 1.2}
REPEATS = 200


def batch_predict_vs_engine(sizes: Sizes) -> Figure:
    """Rows a second of a batch prediction while it predicts and writes, beside its engine's on ready features."""
    keep_freed_memory(KEPT_BYTES)  # as the service has it
    with serving_service() as service:
        table = pd.DataFrame(_values(sizes.batch_rows), columns=_names())
        table["y"] = np.where(table["x0"] > 0, "yes", "no")
        name = f"batch-{uuid4().hex[:8]}"
        service.flare.datasets.upload(table, dataset_id=name)
        view = service.flare.views.create(name, "y", view_id="main").name
        served = ServedVersion.read(_folder(service))
        features = np.random.default_rng(1).standard_normal((sizes.batch_rows, COLUMNS)).astype(np.float32)
        ours, engine = [], []
        for run in range(sizes.runs):
            job = service.flare.batch_predict("mlp", view, dataset_id=f"{name}-{run}")
            service.flare.datasets.delete(job.wait())
            ours.append(job.job.progress.rows_per_second)
            began = time.perf_counter()
            served.run(features)
            engine.append(len(features) / (time.perf_counter() - began))
    reference = "the engine on ready features"
    return Figure.of_rate(
        "batch_predict_vs_engine", statistics.median(ours), "rows/s", reference, statistics.median(engine)
    )


def predict_stream_rows(sizes: Sizes) -> Figure:
    """Rows a second of one stream of 1,024 rows a request, columns of numbers, through the running service."""
    message = pb.PredictStreamRequest(request=pb.PredictRequest(name="models/mlp"))
    for name, values in zip(_names(), _values(PIECE_ROWS).T, strict=True):
        message.request.columns.columns.add(name=name).numbers.values.extend(values.tolist())
    content = message.SerializeToString()
    with serving_service() as service, grpc.insecure_channel(service.services.ml_address) as channel:
        calls: Any = channel.stream_stream(STREAM)  # of bytes, of which the stubs know nothing
        rates = []
        for run in range(sizes.runs + 1):
            pieces = sizes.stream_pieces if run else sizes.stream_pieces // 4  # the first one warms up
            metadata = service.services.metadata()
            began = time.perf_counter()
            answers = list(calls(itertools.repeat(content, pieces), metadata=metadata))
            rates.append(pieces * PIECE_ROWS / (time.perf_counter() - began))
            rows = sum(pb.PredictStreamResponse.FromString(each).response.row_count for each in answers)
            if rows != pieces * PIECE_ROWS:
                raise RuntimeError(f"{rows} of {pieces * PIECE_ROWS} rows were predicted")
    return Figure.of_rate("predict_stream_rows", statistics.median(rates[1:]), "rows/s", "the target", STREAM_TARGET)


def preprocessing_1(sizes: Sizes) -> Figure:
    """From the raw columns of a row to its answer, beside twice what the network takes."""
    return _preprocessing(1, sizes)


def preprocessing_256(sizes: Sizes) -> Figure:
    """From the raw columns of 256 rows to their answers, beside 1.2 times what the network takes."""
    return _preprocessing(256, sizes)


def _preprocessing(rows: int, sizes: Sizes) -> Figure:
    images = ImageDecoder(1)
    with _served_here() as served:
        columns = {name: RawColumn(values) for name, values in zip(_names(), _values(rows).T.copy(), strict=True)}
        features = ColumnInputs(columns).features(served.features, images, "mlp")

        def answer() -> object:
            found = ColumnInputs(columns).features(served.features, images, "mlp")
            return answers_of(served.targets, served.run(found))

        ours, network = [], []
        for _ in range(sizes.runs):
            ours.append(_microseconds(answer))
            network.append(_microseconds(lambda: served.run(features)))
    limit = LIMITS[rows]
    return Figure.of_cost(
        f"preprocessing_{rows}", min(ours), "us", f"{limit:g} times the network", limit * min(network)
    )


@contextmanager
def _served_here() -> Iterator[ServedVersion]:
    """The perceptron in this process, with the engine that the service would take."""
    with tempfile.TemporaryDirectory() as name:
        folder, bundle = Path(name) / "mlp", numbers_version(COLUMNS, HIDDEN_UNITS)
        write_bundle(folder, bundle)
        engine = choose_engine(bundle.model, made_rows(bundle.model), folder / ENGINE_FILE)
        write_details(folder, bundle.details.model_copy(update={"engine": engine}))
        yield ServedVersion.read(folder)


def _microseconds(call: Callable[[], object]) -> float:
    """The quickest of many calls: what disturbs one only makes it slower."""
    quickest = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter_ns()
        call()
        quickest = min(quickest, time.perf_counter_ns() - began)
    return quickest / 1e3


def _names() -> list[str]:
    return [f"x{at}" for at in range(COLUMNS)]


def _values(rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.random.default_rng(0).standard_normal((rows, COLUMNS))


def _folder(service: ServingService) -> Path:
    """The files of the service's version."""
    uid = service.flare.models.get("mlp").etag.rpartition("-")[0]
    (folder,) = service.services.data_dir.rglob(f"versions/{uid}/*")
    return folder
