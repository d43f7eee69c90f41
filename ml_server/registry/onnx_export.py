"""A network as ONNX, held against PyTorch on the way."""

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
