"""Whether one version can stand in for another: whoever calls them takes and gives the same."""

from collections.abc import Iterable

from ml_server.features.targets import FittedTarget, Task
from ml_server.registry.bundle import Preprocessing
from ml_server.views.fit import Misfit, listed
from servicekit.errors import Reason


def misfit_between(version: Preprocessing, other: Preprocessing) -> Misfit | None:
    """How the other one differs in columns or targets, as a predicate; None if callers can have the one or the other.

    Fitted values and known classes may differ: they are what versions are made for.
    """
    expected = {column.name: column.type for column in version.features.columns}
    taken = {column.name: column.type for column in other.features.columns}
    if missing := _without(expected, taken):
        more = f", and takes {listed(found)}" if (found := _without(taken, expected)) else ""
        return Misfit(Reason.COLUMN_MISSING, f"does not take {listed(missing)}{more}", missing[0])
    if unexpected := _without(taken, expected):
        return Misfit(Reason.COLUMN_UNEXPECTED, f"also takes {listed(unexpected)}", unexpected[0])
    for name, kind in expected.items():
        if taken[name] is not kind:
            return Misfit(Reason.COLUMN_UNSUPPORTED, f"takes '{name}' as {taken[name].name}, not as {kind.name}", name)
    wanted = {target.name: target for target in version.targets.targets}
    predicted = {target.name: target for target in other.targets.targets}
    if different := sorted(wanted.keys() ^ predicted.keys()):
        problem = f"predicts {listed(list(predicted))}, not {listed(list(wanted))}"
        return Misfit(Reason.COLUMN_UNSUPPORTED, problem, different[0])
    for name, target in wanted.items():
        if _given(predicted[name]) != _given(target):
            problem = f"predicts {_given(predicted[name])} of '{name}', not {_given(target)}"
            return Misfit(Reason.COLUMN_UNSUPPORTED, problem, name)
    return None


def _without(names: Iterable[str], others: Iterable[str]) -> list[str]:
    known = set(others)
    return [name for name in names if name not in known]


def _given(target: FittedTarget) -> str:
    return "values" if target.task is Task.REGRESSION else "classes"
