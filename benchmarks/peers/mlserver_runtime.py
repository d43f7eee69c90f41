"""A model of MLServer: an eager network of PyTorch, asked for one tensor of features."""

import torch
from mlserver import MLModel  # type: ignore[import-not-found]
from mlserver.codecs import NumpyCodec, NumpyRequestCodec  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse  # type: ignore[import-not-found]

from benchmarks.peers.eager_networks import eager_network


class EagerNetwork(MLModel):  # type: ignore[misc]
    """The network that the model is named after."""

    async def load(self) -> bool:
        """Called by MLServer."""
        torch.set_num_threads(1)
        self._network = eager_network(self.name)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Called by MLServer for each call."""
        features = NumpyCodec.decode_input(payload.inputs[0])
        with torch.inference_mode():
            outputs = self._network(torch.from_numpy(features)).numpy()
        return NumpyRequestCodec.encode_response(self.name, outputs, self.version)
