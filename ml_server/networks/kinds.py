"""The closed sets that specifications choose from. Values are the contract's names in lower case."""

from enum import StrEnum

from torch import nn


class ActivationKind(StrEnum):
    """An elementwise nonlinearity."""

    RELU = "relu"
    LEAKY_RELU = "leaky_relu"
    GELU = "gelu"
    SILU = "silu"
    TANH = "tanh"
    SIGMOID = "sigmoid"
    ELU = "elu"
    MISH = "mish"
    SOFTPLUS = "softplus"
    HARDSWISH = "hardswish"

    def layer(self) -> nn.Module:
        """A module that computes it, with PyTorch's own default constants."""
        return _ACTIVATIONS[self]()


_ACTIVATIONS: dict[ActivationKind, type[nn.Module]] = {
    ActivationKind.RELU: nn.ReLU,
    ActivationKind.LEAKY_RELU: nn.LeakyReLU,
    ActivationKind.GELU: nn.GELU,
    ActivationKind.SILU: nn.SiLU,
    ActivationKind.TANH: nn.Tanh,
    ActivationKind.SIGMOID: nn.Sigmoid,
    ActivationKind.ELU: nn.ELU,
    ActivationKind.MISH: nn.Mish,
    ActivationKind.SOFTPLUS: nn.Softplus,
    ActivationKind.HARDSWISH: nn.Hardswish,
}


class PoolingKind(StrEnum):
    """How a window becomes one value."""

    MAX = "max"
    AVERAGE = "average"


class ReduceKind(StrEnum):
    """How the values of a dimension become one."""

    MEAN = "mean"
    SUM = "sum"
    MAX = "max"


class Normalization(StrEnum):
    """How a layer's values are kept in range."""

    BATCH = "batch"
    LAYER = "layer"


class Encoding(StrEnum):
    """How a column becomes features."""

    STANDARDIZE = "standardize"
    PASS_THROUGH = "pass_through"  # noqa: S105  # an encoding, no password
    MIN_MAX = "min_max"
    ONE_HOT = "one_hot"
    EMBEDDING = "embedding"
    TIME_PARTS = "time_parts"
