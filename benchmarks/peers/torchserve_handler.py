"""A handler of TorchServe: an eager network of PyTorch behind the Open Inference Protocol, a batch of calls at a time.

It imports nothing of Flare: TorchServe runs it from an archive.
"""

from itertools import accumulate
from typing import Any

import torch
from eager_networks import eager_network  # type: ignore[import-not-found]


class EagerNetwork:
    """The network that the model is named after. TorchServe hands the protocol's messages over as JSON."""

    def initialize(self, context: Any) -> None:
        """Called once."""
        torch.set_num_threads(1)
        self._name = context.manifest["model"]["modelName"]
        self._network = eager_network(self._name)

    def handle(self, calls: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:
        """Called with the calls of a batch."""
        inputs = [call["body"]["inputs"][0] for call in calls]
        features = [torch.tensor(each["data"], dtype=torch.float32).reshape(each["shape"]) for each in inputs]
        with torch.inference_mode():
            outputs = self._network(torch.cat(features))
        ends = list(accumulate(map(len, features)))
        parts = [outputs[end - len(part) : end] for part, end in zip(features, ends, strict=True)]
        return [self._answer(call["body"], part) for call, part in zip(calls, parts, strict=True)]

    def _answer(self, request: dict[str, Any], outputs: torch.Tensor) -> dict[str, Any]:
        output = {
            "name": "outputs",
            "datatype": "FP32",
            "shape": list(outputs.shape),
            "data": outputs.flatten().tolist(),
        }
        return {"id": request["id"], "model_name": self._name, "model_version": "1.0", "outputs": [output]}
