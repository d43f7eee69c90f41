"""Whether versions can be measured on a view's rows. Errors name the version, the column and what to do."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ml_server.features.targets import UNSEEN, FittedTarget
from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.values import ModelVersion
from ml_server.views.fit import listed, misfit
from ml_server.views.values import Part, View
from servicekit.errors import InvalidArgument, Reason, ResourceExhausted

# What versions give for all rows is in memory at once.
MAX_OUTPUTS = 50_000_000


def require_rows(view: View, versions: Sequence[ServedVersion]) -> None:
    """Raises if the view has no test rows, or too many for versions with so many outputs.

    Raises:
        InvalidArgument: SPLIT_EMPTY.
        ResourceExhausted: LIMIT_EXCEEDED.
    """
    rows = view.rows[Part.TEST]
    if not rows:
        message = f"view '{view.name}' has no test rows to compare on: name a view whose split leaves some"
        raise InvalidArgument(Reason.SPLIT_EMPTY, message, field="view")
    width = sum(version.targets.outputs for version in versions)
    if rows * width > MAX_OUTPUTS:
        message = (
            f"view '{view.name}' has {rows} test rows, and {len(versions)} versions with {width} outputs together can "
            f"be compared on {MAX_OUTPUTS // width}: make a view with a smaller test share"
        )
        raise ResourceExhausted(Reason.LIMIT_EXCEEDED, message, resource=view.name)


def require_columns(place: int, version: ModelVersion, served: ServedVersion, view: View) -> None:
    """Raises if the view lacks a column of the version, has it with other values, or has other targets.

    Raises:
        InvalidArgument: COLUMN_MISSING, COLUMN_UNSUPPORTED.
    """
    found = misfit(served.features, view)
    if found is not None:
        raise _misfit(place, version, found.reason, found.problem, found.column)
    targets = {target.name: target for target in served.targets.targets}
    wanted = {target.name: target for target in view.targets}
    if targets.keys() != wanted.keys():
        problem = f"predicts {listed(list(targets))}, and the targets of view '{view.name}' are {listed(list(wanted))}"
        raise _misfit(place, version, Reason.COLUMN_MISSING, problem, min(targets.keys() ^ wanted.keys()))
    for name, target in targets.items():
        if target.type is not wanted[name].type:
            problem = (
                f"was trained with a target '{name}' that is {target.type.name}, and that of view '{view.name}' is "
                f"{wanted[name].type.name}"
            )
            raise _misfit(place, version, Reason.COLUMN_UNSUPPORTED, problem, name)


def all_classes(targets: Sequence[FittedTarget]) -> FittedTarget:
    """The target with the classes that any of the versions knows, those of the first version first."""
    labels = dict.fromkeys(label for target in targets for label in target.classes)
    return targets[0].model_copy(update={"classes": tuple(labels)})


def require_classes(
    place: int, version: ModelVersion, target: FittedTarget, known: FittedTarget, truth: NDArray[np.int64]
) -> None:
    """Raises if a row has a class that this version does not know and another one does.

    `truth` (N,) has indices of the classes that any version knows.

    Raises:
        InvalidArgument: COLUMN_UNSUPPORTED.
    """
    there = {known.classes[index] for index in np.unique(truth[truth != UNSEEN]).tolist()}
    unknown = sorted(there - set(target.classes))
    if unknown:
        problem = f"knows no class {listed(unknown)} of target '{target.name}', which test rows have and others know"
        raise _misfit(place, version, Reason.COLUMN_UNSUPPORTED, problem, target.name)


def _misfit(place: int, version: ModelVersion, reason: Reason, problem: str, column: str) -> InvalidArgument:
    message = f"{version.name} {problem}: compare versions on a view that suits all of them"
    return InvalidArgument(reason, message, field=f"versions[{place}]", column=column)
