"""What every architecture extends: a network that is rebuilt from its own two files."""

from abc import abstractmethod
from pathlib import Path
from typing import Self

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ml_server.networks.feature_layout import EmbeddingInput, FeatureLayout
from ml_server.networks.specification import ModelSpecification
from ml_server.networks.values import AtLeastOne, Value
from servicekit.errors import InvalidArgument, Reason
from servicekit.files import staged_directory

CONFIG_FILE = "config.json"
STATE_FILE = "state.pt"


class ModelConfig(Value):
    """All that decides the shape of a network. `outputs` is the total width over all targets."""

    specification: ModelSpecification
    layout: FeatureLayout
    outputs: AtLeastOne


class ManageableModel(nn.Module):
    """A network from features (N, layout.columns), float32, to outputs (N, outputs), with its config beside it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # "input" is no node's id, so the weights of embeddings never share a name with those of a graph.
        self.input = EmbeddingInput(config.layout) if config.layout.embeddings else None
        self.still_layers: tuple[nn.Module, ...] = ()
        """Layers that never train: their running statistics stay as they are."""

    @abstractmethod
    def compute(self, features: Tensor) -> Tensor:
        """Outputs (N, outputs) for features (N, layout.features)."""

    def forward(self, columns: Tensor) -> Tensor:
        return self.compute(columns if self.input is None else self.input(columns))

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for layer in self.still_layers:
            layer.eval()
        return self

    @property
    def parameter_count(self) -> int:
        """How many numbers training learns."""
        return sum(parameter.numel() for parameter in self.parameters())

    def user_name(self, name: str) -> str:
        """The name by which users know a part of the network, of its name in PyTorch."""
        return name

    def weights(self) -> dict[str, Tensor]:
        """The state's own tensors (not copies) under the names that users know them by, for import and export."""
        return {self.user_name(name): tensor for name, tensor in self.state_dict().items()}

    def save(self, directory: Path) -> None:
        """Writes `config.json` and `state.pt`, both or neither. Raises AlreadyExists: a version is never rewritten."""
        with staged_directory(directory) as staging:
            (staging / CONFIG_FILE).write_text(self.config.model_dump_json(), encoding="utf-8")
            torch.save(self.state_dict(), staging / STATE_FILE)

    @classmethod
    def load(cls, directory: Path) -> "ManageableModel":
        """Rebuilds a network, on the CPU, from the files that `save` wrote. The random state stays as it was.

        Raises:
            InvalidArgument: One of the files is not what `save` writes, or they do not belong together.
        """
        try:
            config = ModelConfig.model_validate_json((directory / CONFIG_FILE).read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            message = f"{CONFIG_FILE} is not the configuration of a model: {error}"
            raise InvalidArgument(Reason.INVALID_FIELD, message, field=CONFIG_FILE) from error
        with torch.random.fork_rng(devices=[]):
            model = build_model(config)
        try:
            state = torch.load(directory / STATE_FILE, map_location="cpu", weights_only=True)
            model.load_state_dict(state)
        except OSError:
            raise
        except Exception as error:  # a file that is no state can fail in torch's reader in any way
            message = f"{STATE_FILE} does not hold the weights that {CONFIG_FILE} describes: {error}"
            raise InvalidArgument(Reason.WEIGHTS_MISMATCH, message, field=STATE_FILE) from error
        return model


def build_model(config: ModelConfig) -> ManageableModel:
    """A network with fresh weights, drawn from torch's global random state.

    Raises:
        InvalidArgument: The shapes do not fit, see `check_shapes`, which says more and allocates nothing.
    """
    from ml_server.networks.architectures import ARCHITECTURES  # they extend the class above

    return ARCHITECTURES[config.specification.architecture.kind](config)
