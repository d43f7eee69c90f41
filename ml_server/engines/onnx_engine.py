"""ONNX Runtime: the same network without Python between its layers."""

from pathlib import Path

import onnxruntime

from ml_server.engines.engine import Features, Outputs
from ml_server.engines.onnx_export import INPUT_NAME

_ERRORS_ONLY = 3


class OnnxEngine:
    """Computes with a file that `export_onnx` wrote."""

    def __init__(self, file: Path) -> None:
        """One thread works on a call; calls of several threads run at the same time all the same.

        Raises:
            RuntimeError: The runtime does not know one of the operations.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Memory that a large batch took would stay with the session otherwise, for each of many versions.
        options.enable_cpu_mem_arena = False
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        # What the session wraps: its own checks of the feed take as long as a row through a small network.
        self._run = session._sess.run
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, features: Features) -> Outputs:
        """As Engine says."""
        outputs: Outputs = self._run(self._outputs, {INPUT_NAME: features}, None)[0]
        return outputs
