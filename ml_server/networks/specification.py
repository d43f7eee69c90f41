"""What a model is made of, as values: the part of `config.json` that the user wrote, defaults filled in."""

from typing import Annotated, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, StringConstraints

from ml_server.networks.graph_specification import TorchGraphSpecification
from ml_server.networks.kinds import ActivationKind, Encoding, Normalization, PoolingKind
from ml_server.networks.values import AtLeastOne, NotNegative, Probability, Value

Width = Annotated[int, Ge(1), Le(65536)]


class MlpSpecification(Value):
    """Hidden layers of linear, normalisation, activation and dropout, then a linear layer for the targets."""

    kind: Literal["mlp"] = "mlp"
    hidden_units: Annotated[tuple[Width, ...], MaxLen(100)] = ()
    activation: ActivationKind = ActivationKind.RELU
    dropout: Probability = 0.0
    normalization: Normalization | None = None


class ImageShape(Value):
    """The size of an image: channels, rows of pixels, pixels of a row."""

    channels: AtLeastOne
    height: AtLeastOne
    width: AtLeastOne

    @property
    def size(self) -> int:
        """How many numbers an image has."""
        return self.channels * self.height * self.width

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"


class ConvolutionBlock(Value):
    """Convolution, normalisation, activation, pooling, dropout."""

    out_channels: Width
    kernel_size: AtLeastOne = 3
    stride: AtLeastOne = 1
    padding: NotNegative | None = None
    normalization: Literal[Normalization.BATCH] | None = None
    activation: ActivationKind = ActivationKind.RELU
    pooling: PoolingKind | None = None
    pooling_size: AtLeastOne = 2
    dropout: Probability = 0.0

    @property
    def border(self) -> int:
        """Zeros added on each side: as set, or half the window, which keeps height and width of odd windows."""
        return self.kernel_size // 2 if self.padding is None else self.padding


class CnnSpecification(Value):
    """Convolution blocks over an image, then the flattened or averaged map into a perceptron."""

    kind: Literal["cnn"] = "cnn"
    image: ImageShape | None = None
    """None: the one that the layout has."""
    blocks: Annotated[tuple[ConvolutionBlock, ...], MinLen(1), MaxLen(100)]
    global_average_pooling: bool = False
    head: MlpSpecification | None = None


ParameterValue = StrictBool | StrictInt | StrictFloat | StrictStr | tuple[StrictInt, ...]


class ModuleParameter(Value):
    """A parameter of a registered module."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
    value: ParameterValue


class RegisteredModuleSpecification(Value):
    """A module that the operator's image offers, by its name in the entry-point group."""

    kind: Literal["registered_module"] = "registered_module"
    module: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,127}$")]
    parameters: Annotated[tuple[ModuleParameter, ...], MaxLen(200)] = ()


Architecture = Annotated[
    MlpSpecification | CnnSpecification | TorchGraphSpecification | RegisteredModuleSpecification,
    Field(discriminator="kind"),
]


class ColumnEncoding(Value):
    """How one column becomes features. `embedding_dim` None: chosen by the number of categories."""

    column: Annotated[str, MinLen(1)]
    encoding: Encoding
    embedding_dim: AtLeastOne | None = None


class Preprocessing(Value):
    """How columns become features; columns that are not named go by their type."""

    columns: tuple[ColumnEncoding, ...] = ()
    numeric_encoding: Literal[Encoding.STANDARDIZE, Encoding.PASS_THROUGH, Encoding.MIN_MAX] = Encoding.STANDARDIZE


class ModelSpecification(Value):
    """What a model is made of. It holds no data and no weights."""

    architecture: Architecture
    preprocessing: Preprocessing = Preprocessing()
