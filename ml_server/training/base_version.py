"""The version whose weights a training starts from."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ml_server.networks.manageable_model import ManageableModel, ModelConfig, build_model
from ml_server.networks.values import Value
from ml_server.networks.weights import check_base_weights, load_base_weights
from ml_server.registry.bundle import Preprocessing, read_config, read_preprocessing


class BaseVersion(Value):
    """A version by its number. The model is meant by its uid: its name may pass to another one."""

    model_id: str
    model_uid: str
    number: int

    @property
    def name(self) -> str:
        """`models/{model}/versions/{version}`."""
        return f"models/{self.model_id}/versions/{self.number}"


@dataclass(frozen=True)
class BaseNetwork:
    """What is known of a base version without its weights: its shapes, and what its inputs and outputs mean."""

    name: str
    config: ModelConfig
    preprocessing: Preprocessing

    @classmethod
    def read(cls, name: str, directory: Path) -> "BaseNetwork":
        """That of a version's folder."""
        return cls(name, read_config(directory), read_preprocessing(directory))

    def require_fit(self, model: ManageableModel) -> None:
        """Raises InvalidArgument, as `check_base_weights`, if a network can't start from it."""
        with torch.device("meta"):
            weights = build_model(self.config).weights()
        check_base_weights(model, weights, self.name)


def start_from(model: ManageableModel, name: str, directory: Path) -> None:
    """Gives a network the weights in a version's folder. The random state stays as it was.

    Raises:
        InvalidArgument: As `check_base_weights`.
    """
    load_base_weights(model, ManageableModel.load(directory).weights(), name)
