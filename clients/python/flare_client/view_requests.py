"""A view from the words that people use for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc
from flare.scraper.v1 import dataset_view_pb2 as pb
from flare.scraper.v1.dataset_pb2 import ColumnType

from flare_client.choices import choose
from flare_client.errors import FlareError, Violation

FILL_VALUE_PREFIX = "fill_value="
ROLES = "targets, inputs, drop and weight"


def dataset_view(
    targets: Sequence[str],
    *,
    inputs: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    weight: str | None = None,
    rename: Mapping[str, str] | None = None,
    cast: Mapping[str, str] | None = None,
    missing: Mapping[str, str] | None = None,
    display_name: str = "",
) -> pb.DatasetView:
    """The columns of a view, without its split.

    `inputs` None takes every column that has no other role. `weight` says how much each row counts. `missing` maps a
    column to `drop_row`, `fill_mean`, `fill_median`, `fill_most_frequent`, `keep`, `fail` or `fill_value=VALUE`.

    Raises:
        FlareError: A column has two roles, or a type or policy is not known.
    """
    roles: dict[str, pb.ColumnRole.ValueType] = {}
    for names, role in (
        (targets, pb.COLUMN_ROLE_TARGET),
        (inputs or (), pb.COLUMN_ROLE_INPUT),
        (drop, pb.COLUMN_ROLE_IGNORED),
        (() if weight is None else (weight,), pb.COLUMN_ROLE_WEIGHT),
    ):
        for name in names:
            if roles.setdefault(name, role) != role:
                raise _refused(f"column {name!r} can have one role only: name it once among {ROLES}")
    view = pb.DatasetView(
        display_name=display_name,
        default_role=pb.COLUMN_ROLE_INPUT if inputs is None else pb.COLUMN_ROLE_IGNORED,
    )
    rename, cast, missing = rename or {}, cast or {}, missing or {}
    for name in dict.fromkeys([*roles, *rename, *cast, *missing]):
        policy, fill_value = _policy(missing.get(name, ""))
        view.columns.add(
            column=name,
            role=roles.get(name, pb.COLUMN_ROLE_UNSPECIFIED),
            rename=rename.get(name, ""),
            cast=choose("type", cast.get(name, ""), ColumnType),
            missing=policy,
            fill_value=fill_value,
        )
    return view


def view_split(
    fractions: Sequence[float] | None = None,
    *,
    seed: int = 0,
    stratify: str | None = None,
    group: str | None = None,
    time: str | None = None,
    column: str | None = None,
) -> pb.Split:
    """Which rows train, validate and test: shares of the three, and at most one column that decides.

    Raises:
        FlareError: There are not three shares, or two columns decide.
    """
    if fractions is not None and len(fractions) != 3:
        raise _refused("a split is three shares, for training, validation and test, such as 0.7, 0.15, 0.15")
    train, validation, test = fractions or (0.0, 0.0, 0.0)
    methods = {"stratify": stratify, "group": group, "time": time, "column": column}
    chosen = [name for name, value in methods.items() if value is not None]
    if len(chosen) > 1:
        raise _refused(f"a split has one method, not {' and '.join(chosen)}: leave all but one out")
    split = pb.Split(train_fraction=train, validation_fraction=validation, test_fraction=test, seed=seed)
    if stratify is not None:
        split.stratified.column = stratify
    elif group is not None:
        split.group.column = group
    elif time is not None:
        split.time.column = time
    elif column is not None:
        split.column.column = column
    return split


def _policy(text: str) -> tuple[pb.MissingPolicy.ValueType, str]:
    if text.startswith(FILL_VALUE_PREFIX):
        return pb.MISSING_POLICY_FILL_VALUE, text.removeprefix(FILL_VALUE_PREFIX)
    return choose("missing policy", text, pb.MissingPolicy), ""


def _refused(message: str) -> FlareError:
    return FlareError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", message, (Violation("view", message),))
