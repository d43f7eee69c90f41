"""How to train, as values: every choice made, nothing left to a default elsewhere."""

from enum import StrEnum
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from pydantic import Field

from ml_server.engines.engine import EngineName
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


class OneCycleSchedule(Value):
    """The learning rate rises to its given value and falls to nearly nothing, over all steps."""

    kind: Literal["one_cycle"] = "one_cycle"
    rise_fraction: Probability = 0.3
    start_divisor: Annotated[float, Gt(0)] = 25.0
    end_divisor: Annotated[float, Gt(0)] = 1e4


class ReduceOnPlateauSchedule(Value):
    """The learning rate falls when the validation loss has not become lower for `patience` epochs."""

    kind: Literal["reduce_on_plateau"] = "reduce_on_plateau"
    patience: AtLeastOne = 5
    factor: Probability = 0.1
    min_delta: PositiveOrZero = 0.0
    min_learning_rate: PositiveOrZero = 0.0


Schedule = Annotated[
    ConstantSchedule | StepSchedule | CosineSchedule | OneCycleSchedule | ReduceOnPlateauSchedule,
    Field(discriminator="kind"),
]


class Mse(Value):
    """The mean squared error."""

    kind: Literal["mse"] = "mse"


class Mae(Value):
    """The mean absolute error."""

    kind: Literal["mae"] = "mae"


class Huber(Value):
    """Squared up to `delta` standard deviations, absolute beyond."""

    kind: Literal["huber"] = "huber"
    delta: Annotated[float, Gt(0)] = 1.0


RegressionLoss = Annotated[Mse | Mae | Huber, Field(discriminator="kind")]


class CrossEntropy(Value):
    """The cross entropy of all classes."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Probability = 0.0


class BinaryCrossEntropy(Value):
    """The cross entropy of one probability, for targets of two classes."""

    kind: Literal["binary_cross_entropy"] = "binary_cross_entropy"


class Focal(Value):
    """The cross entropy times (1 - p)^gamma, p being the probability of the right class."""

    kind: Literal["focal"] = "focal"
    gamma: PositiveOrZero = 2.0


ClassificationLoss = Annotated[CrossEntropy | BinaryCrossEntropy | Focal, Field(discriminator="kind")]


class ClassWeight(Value):
    """How much a row of a class counts. An empty target means the only one."""

    target: str
    class_label: str
    weight: Annotated[float, Gt(0)]


class ClassWeights(Value):
    """All classes alike in sum (`balanced`), or single ones as given and 1 for the rest."""

    balanced: bool = False
    weights: tuple[ClassWeight, ...] = ()


class Precision(StrEnum):
    """The numbers that forward and backward passes compute with."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class EarlyStopping(Value):
    """Stops after `patience` epochs without a validation loss that is lower by at least `min_delta`."""

    patience: AtLeastOne = 10
    min_delta: PositiveOrZero = 0.0


class ImageAugmentation(Value):
    """How training images are changed at random; nothing at 0. Flips are shares of images, the rest are the most."""

    horizontal_flip: Fraction = 0.0
    vertical_flip: Fraction = 0.0
    crop_padding: NotNegative = 0
    """Pixels."""
    rotation_degrees: Annotated[float, Ge(0), Le(180)] = 0.0
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0


class TrainingPlan(Value):
    """How to train. Rates are per step, sizes in rows."""

    epochs: AtLeastOne = 50
    batch_size: AtLeastOne = 64
    optimizer: Optimizer = Adam()
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    schedule: Schedule = ConstantSchedule()
    warmup_steps: NotNegative = 0
    gradient_clip_norm: PositiveOrZero = 0.0
    accumulation_steps: AtLeastOne = 1
    regression_loss: RegressionLoss = Mse()
    classification_loss: ClassificationLoss = CrossEntropy()
    class_weights: ClassWeights = ClassWeights()
    early_stopping: EarlyStopping | None = None
    max_steps: NotNegative = 0
    """0 for as many as the epochs have."""
    max_seconds: PositiveOrZero = 0.0
    """In the loop, over all attempts; 0 for as long as it takes."""
    seed: int = 0
    device: str = "auto"
    precision: Precision = Precision.FLOAT32
    compile: bool = False
    deterministic: bool = False
    checkpoint_seconds: Annotated[float, Gt(0)] = 60.0
    """From one checkpoint to the next within an epoch."""
    max_attempts: Annotated[int, Ge(1)] = 3
    engine: EngineName | None = None
    """What is to serve the version; None for the fastest that is right."""
    frozen_blocks: tuple[str, ...] = ()
    augmentation: ImageAugmentation = ImageAugmentation()
    workers: AtLeastOne = 1
    """That train together, each on its part of every batch."""
