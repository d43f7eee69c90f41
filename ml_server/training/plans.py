"""How to train, as values: every choice made, nothing left to a default elsewhere."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt
from pydantic import Field

from ml_server.networks.values import AtLeastOne, Fraction, NotNegative, PositiveOrZero, Probability, Value


class Sgd(Value):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    momentum: Probability = 0.0
    nesterov: bool = False
    weight_decay: PositiveOrZero = 0.0


class Adam(Value):
    """Adam, with PyTorch's defaults for what is not named."""

    kind: Literal["adam"] = "adam"
    weight_decay: PositiveOrZero = 0.0


class AdamW(Value):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    weight_decay: PositiveOrZero = 0.01


class RmsProp(Value):
    """RMSprop."""

    kind: Literal["rmsprop"] = "rmsprop"
    momentum: Probability = 0.0
    weight_decay: PositiveOrZero = 0.0


class Adagrad(Value):
    """Adagrad."""

    kind: Literal["adagrad"] = "adagrad"
    weight_decay: PositiveOrZero = 0.0


Optimizer = Annotated[Sgd | Adam | AdamW | RmsProp | Adagrad, Field(discriminator="kind")]


class ConstantSchedule(Value):
    """The learning rate stays."""

    kind: Literal["constant"] = "constant"


class StepSchedule(Value):
    """The learning rate falls by a factor every so many epochs."""

    kind: Literal["step"] = "step"
    epochs: AtLeastOne
    factor: Fraction = 0.1


class CosineSchedule(Value):
    """The learning rate falls along half a cosine to a share of its first value."""

    kind: Literal["cosine"] = "cosine"
    final_fraction: Fraction = 0.0


Schedule = Annotated[ConstantSchedule | StepSchedule | CosineSchedule, Field(discriminator="kind")]


class EarlyStopping(Value):
    """Stops after `patience` epochs without a validation loss that is lower by at least `min_delta`."""

    patience: AtLeastOne = 10
    min_delta: PositiveOrZero = 0.0


class TrainingPlan(Value):
    """How to train. Rates are per step, sizes in rows."""

    epochs: AtLeastOne = 50
    batch_size: AtLeastOne = 64
    optimizer: Optimizer = Adam()
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    schedule: Schedule = ConstantSchedule()
    warmup_steps: NotNegative = 0
    gradient_clip_norm: PositiveOrZero = 0.0
    early_stopping: EarlyStopping | None = None
    seed: int = 0
    device: str = "auto"
    max_attempts: Annotated[int, Ge(1)] = 3
