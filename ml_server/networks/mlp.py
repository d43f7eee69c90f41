"""The multi-layer perceptron."""

from torch import Tensor, nn

from ml_server.networks.kinds import Normalization
from ml_server.networks.manageable_model import ManageableModel, ModelConfig
from ml_server.networks.specification import MlpSpecification


class Mlp(ManageableModel):
    """Hidden layers, then a linear layer; with no hidden layer a linear model."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        specification = config.specification.architecture
        assert isinstance(specification, MlpSpecification)
        self.layers = perceptron(specification, config.layout.features, config.outputs)

    def compute(self, features: Tensor) -> Tensor:
        outputs: Tensor = self.layers(features)
        return outputs


def perceptron(specification: MlpSpecification, inputs: int, outputs: int) -> nn.Sequential:
    """Layers from (N, inputs) to (N, outputs)."""
    layers = nn.Sequential()
    width = inputs
    for units in specification.hidden_units:
        layers.append(nn.Linear(width, units))
        if specification.normalization is Normalization.BATCH:
            layers.append(nn.BatchNorm1d(units))
        elif specification.normalization is Normalization.LAYER:
            layers.append(nn.LayerNorm(units))
        layers.append(specification.activation.layer())
        if specification.dropout > 0:
            layers.append(nn.Dropout(specification.dropout))
        width = units
    layers.append(nn.Linear(width, outputs))
    return layers
