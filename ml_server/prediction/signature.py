"""The tensors that a version takes and gives: a column each, or its prepared features in one."""

from collections.abc import Collection

from ml_server.features.columns import ColumnType
from ml_server.features.encodings import ImageEncoding
from ml_server.features.features import FittedFeatures
from ml_server.features.targets import FittedTargets, Task
from ml_server.prediction.tensors import ANY, Datatype, TensorSpecification

# The input that takes the place of all columns, unless a column has this name.
FEATURES = "features"
DATATYPE_OF = {
    ColumnType.INTEGER: Datatype.INT64,
    ColumnType.FLOAT: Datatype.FP64,
    ColumnType.BOOLEAN: Datatype.BOOL,
    ColumnType.DATETIME: Datatype.INT64,
    ColumnType.CATEGORICAL: Datatype.BYTES,
    ColumnType.TEXT: Datatype.BYTES,
    ColumnType.IMAGE: Datatype.BYTES,
}


def column_inputs(features: FittedFeatures) -> list[TensorSpecification]:
    """The columns with their raw values, in the view's order. Other forms of the same values are taken too."""
    return [TensorSpecification(column.name, DATATYPE_OF[column.type], (ANY, 1)) for column in features.columns]


def features_inputs(features: FittedFeatures) -> list[TensorSpecification]:
    """The forms of the features as the network sees them; none if a column has the name that they would have."""
    if FEATURES in features.names:
        return []
    flat = TensorSpecification(FEATURES, Datatype.FP32, (ANY, features.layout.columns))
    first = features.columns[0].encoding
    if len(features.columns) > 1 or not isinstance(first, ImageEncoding):
        return [flat]
    image = first.network_shape
    return [flat, TensorSpecification(FEATURES, Datatype.FP32, (ANY, image.channels, image.height, image.width))]


def outputs(targets: FittedTargets) -> list[TensorSpecification]:
    """For each target its value, or its label and the probability of each class."""
    found = []
    names = {target.name for target in targets.targets}
    for target in targets.targets:
        if target.task is Task.REGRESSION:
            found.append(TensorSpecification(target.name, Datatype.FP64, (ANY, 1)))
        else:
            found.append(TensorSpecification(target.name, Datatype.BYTES, (ANY, 1)))
            name = probabilities_name(target.name, names)
            found.append(TensorSpecification(name, Datatype.FP32, (ANY, len(target.classes))))
    return found


def output_names(targets: FittedTargets) -> dict[str, bool]:
    """The names of the outputs, and whether each has a number for each class."""
    labels_and_values = {target.name for target in targets.targets}
    return {output.name: output.name not in labels_and_values for output in outputs(targets)}


def probabilities_name(target: str, targets: Collection[str]) -> str:
    """The output that holds a target's probabilities: another name than that of any target."""
    name = f"{target}_probabilities"
    while name in targets:
        name += "_"
    return name
