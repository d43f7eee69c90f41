"""Which metrics a sweep can go by, and whether low or high values of them are good."""

from collections.abc import Sequence

from ml_server.features.columns import ColumnType
from ml_server.features.targets import TargetColumn
from ml_server.sweeps.values import Objective
from servicekit.errors import InvalidArgument, Reason

VALIDATION_LOSS = "validation_loss"
# By name: whether high values are good.
OF_CLASSES = {"accuracy": True, "f1_macro": True, "precision_macro": True, "recall_macro": True, "auroc": True}
OF_NUMBERS = {"mean_absolute_error": False, "root_mean_squared_error": False, "r2": True}
OF_ALL_TARGETS = {"exact_match": True, "hamming_distance": False, "f1_micro": True, "f1_macro": True}


def resolved(objective: Objective, targets: Sequence[TargetColumn]) -> Objective:
    """The objective with its target and its direction.

    Raises:
        InvalidArgument: There is no such target, or it has no such metric.
    """
    if objective.metric == VALIDATION_LOSS:
        if objective.target:
            message = "the validation loss is that of all targets: leave the target out, or name a metric of it"
            raise InvalidArgument(Reason.INVALID_FIELD, message, field="sweep.objective.target")
        return objective.model_copy(update={"maximise": False})
    names = [target.name for target in targets]
    if not objective.target and len(targets) > 1:
        if _is_multi_label(targets) and objective.metric in OF_ALL_TARGETS:
            return objective.model_copy(update={"maximise": OF_ALL_TARGETS[objective.metric]})
        message = f"metric '{objective.metric}' is one of a single target: name it, one of {_listed(names)}"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="sweep.objective.target")
    name = objective.target or names[0]
    if name not in names:
        message = f"the view has no target '{name}': take one of {_listed(names)}"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="sweep.objective.target")
    metrics = OF_NUMBERS if _is_number(targets[names.index(name)]) else OF_CLASSES
    if objective.metric not in metrics:
        message = (
            f"target '{name}' has no metric '{objective.metric}': take {VALIDATION_LOSS} or one of {_listed(metrics)}"
        )
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="sweep.objective.metric")
    return Objective(metric=objective.metric, target=name, maximise=metrics[objective.metric])


def _is_number(target: TargetColumn) -> bool:
    return target.type in (ColumnType.INTEGER, ColumnType.FLOAT)


def _is_multi_label(targets: Sequence[TargetColumn]) -> bool:
    return all(not _is_number(target) and target.category_count == 2 for target in targets)


def _listed(names: Sequence[str] | dict[str, bool]) -> str:
    return ", ".join(names)
