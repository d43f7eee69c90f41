"""Which engine serves a version: the fastest of those whose answers are PyTorch's."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from ml_server.engines.engine import BATCH_ROWS, Engine, EngineChoice, EngineMeasurement, EngineName, Features, Outputs
from ml_server.engines.onnx_export import export_onnx, trace_onnx
from ml_server.engines.torch_engine import TorchEngine
from ml_server.networks.manageable_model import ManageableModel
from servicekit.errors import FailedPrecondition

# Of the largest output; sums in another order differ by about a tenth of it.
TOLERANCE = 1e-4
# An engine may have decided something by the number of rows, so it is tried with several.
TRIED_ROWS = (1, 2, BATCH_ROWS)
MEASURED_SECONDS = 0.02
MEASURED_CALLS = 200
# The number of threads is the process's: of two choices at a time, one would keep the other's single thread for good.
_ONE_THREAD = threading.Lock()


def choose_engine(model: ManageableModel, rows: Features, file: Path, wanted: EngineName | None = None) -> EngineChoice:
    """Measures the engines on rows of training (at least 1), and writes `file` if ONNX Runtime is the choice.

    Without `wanted` the fastest engine that computes what PyTorch does is taken; one that is wanted is taken if it
    does, else PyTorch.
    """
    sample = np.resize(rows, (max(BATCH_ROWS, min(len(rows), 256)), rows.shape[1]))
    reference = TorchEngine(model.eval())
    with _one_thread():
        found = [_measured(EngineName.TORCH, reference, reference, sample)]
        if wanted is not EngineName.TORCH:
            found.append(_onnx(model, reference, sample, file))
        served = [each for each in found if not each.refusal]
        best = min(served, key=lambda each: each.single_row_microseconds * each.batch_microseconds)
        chosen = next((each for each in served if each.engine is wanted), best)
    if chosen.engine is not EngineName.ONNXRUNTIME:
        file.unlink(missing_ok=True)
    return EngineChoice(engine=chosen.engine, measurements=tuple(found))


def made_rows(model: ManageableModel) -> Features:
    """Rows that the network takes, where those of training are not at hand: standard normal numbers, known codes."""
    layout = model.config.layout
    generator = np.random.default_rng(0)
    dense = generator.standard_normal((BATCH_ROWS, layout.dense))
    codes = [generator.integers(each.categories, size=(BATCH_ROWS, 1)) for each in layout.embeddings]
    return np.concatenate([dense, *codes], axis=1).astype(np.float32)


def _onnx(model: ManageableModel, reference: Engine, sample: Features, file: Path) -> EngineMeasurement:
    """What ONNX Runtime does with the network, exported in the quick way if that way is right, else in the other."""
    # Not with the module: the processes that workers are forked from must not have the runtime's threads.
    from ml_server.engines.onnx_engine import OnnxEngine

    refused = EngineMeasurement(engine=EngineName.ONNXRUNTIME)
    for export in (trace_onnx, export_onnx):
        try:
            export(model, file)
            found = _measured(EngineName.ONNXRUNTIME, OnnxEngine(file), reference, sample)
        except (FailedPrecondition, RuntimeError) as error:  # the runtime's own errors are RuntimeErrors
            refused = refused.model_copy(update={"refusal": str(error)})
            continue
        if not found.refusal:
            return found
        refused = found
    return refused


def _measured(name: EngineName, engine: Engine, reference: Engine, sample: Features) -> EngineMeasurement:
    difference = max(_difference(engine, reference, sample[:count]) for count in (*TRIED_ROWS, len(sample)))
    if not difference <= TOLERANCE:  # NaN too
        refusal = f"its outputs differ from PyTorch's by {difference:.2g} of the largest: {TOLERANCE:.2g} is allowed"
        return EngineMeasurement(engine=name, refusal=refusal)
    return EngineMeasurement(
        engine=name,
        single_row_microseconds=_microseconds(engine, sample[:1]),
        batch_microseconds=_microseconds(engine, sample[:BATCH_ROWS]),
        largest_difference=difference,
    )


def _difference(engine: Engine, reference: Engine, features: Features) -> float:
    expected, given = reference.run(features), engine.run(features)
    if given.shape != expected.shape:
        return float("inf")
    return float(np.abs(given - expected).max() / max(_largest(expected), 1e-6))


def _largest(outputs: Outputs) -> float:
    return float(np.abs(outputs).max())


def _microseconds(engine: Engine, features: Features) -> float:
    """The median of some calls: what others do on the machine meanwhile stays out."""
    taken: list[float] = []
    ended = time.perf_counter() + MEASURED_SECONDS
    while len(taken) < MEASURED_CALLS and (len(taken) < 3 or time.perf_counter() < ended):
        started = time.perf_counter()
        engine.run(features)
        taken.append(time.perf_counter() - started)
    return float(np.median(taken)) * 1e6


@contextmanager
def _one_thread() -> Iterator[None]:
    """As a server computes that has more than one call to answer."""
    with _ONE_THREAD:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
