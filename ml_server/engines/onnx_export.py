"""A network as ONNX."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ml_server.networks.manageable_model import ManageableModel
from servicekit.errors import FailedPrecondition, Reason

INPUT_NAME = "features"
OUTPUT_NAME = "outputs"
SAMPLE_ROWS = 3


def export_onnx(model: ManageableModel, target: Path) -> None:
    """Writes the network, from features (N, layout.columns) to outputs (N, outputs), as one self-contained file.

    Raises:
        FailedPrecondition: GRAPH_INVALID, if PyTorch can't express one of its operations in ONNX.
    """
    model.eval()
    sample = torch.zeros(SAMPLE_ROWS, model.config.layout.columns)
    try:
        with _quiet():
            torch.onnx.export(
                model,
                (sample,),
                target,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise FailedPrecondition(
            Reason.GRAPH_INVALID, f"this network can't be written as ONNX: {error}; export a BUNDLE", field="format"
        ) from error


def trace_onnx(model: ManageableModel, target: Path) -> None:
    """The same by PyTorch's older exporter, which follows one call: some thirty times as fast.

    What the network decides by the number of rows is decided for good, so the file has to be held against the network
    with other numbers of rows.

    Raises:
        FailedPrecondition: GRAPH_INVALID, if it can't express one of the operations.
    """
    model.eval()
    sample = torch.zeros(SAMPLE_ROWS, model.config.layout.columns)
    try:
        with _quiet():
            torch.onnx.export(
                model,
                (sample,),
                target,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_axes={INPUT_NAME: {0: "rows"}, OUTPUT_NAME: {0: "rows"}},
                dynamo=False,
            )
    # This exporter lets the errors of each operation's translation through as they come.
    except (RuntimeError, TypeError, ValueError) as error:
        problem = str(error).partition("\n")[0]
        raise FailedPrecondition(Reason.GRAPH_INVALID, f"this network can't be traced as ONNX: {problem}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch's exporters tell of packages that they would like, and of themselves."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        registration.setLevel(level)
