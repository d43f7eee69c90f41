"""What each column contributed to the outputs of a version: the part of an explanation that takes a thread."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_server.explanation.batches import batches
from ml_server.explanation.feature_space import FeatureSpace
from ml_server.explanation.integrated_gradients import NoGradients, integrated_gradients
from ml_server.explanation.permutation import sampled_shapley
from ml_server.explanation.values import Contributions, Explanation, ExplanationRequest, Method
from ml_server.features.targets import FittedTarget, FittedTargets, Task, some_of
from ml_server.prediction.observers import Inputs
from ml_server.prediction.served_version import ServedVersion
from ml_server.registry.values import ModelVersion
from servicekit.errors import InvalidArgument, Reason, ResourceExhausted
from servicekit.images.decoding import ImageDecoder
from servicekit.stopping import Stopping

# What bounds the time that a request takes, and the size of its answer.
MAX_RUNS = 1_000_000
MAX_CONTRIBUTIONS = 1_000_000


def explained(
    version: ModelVersion,
    served: ServedVersion,
    inputs: Inputs,
    images: ImageDecoder,
    request: ExplanationRequest,
    stopping: Stopping,
) -> Explanation:
    """How much each column contributed to what a version puts out for rows.

    Raises:
        InvalidArgument: The inputs do not fit the version; INVALID_FIELD, for a target or class that there is not, and
            for gradients of a network that has none.
        ResourceExhausted: LIMIT_EXCEEDED, if it would take too long, or for images that take too much memory.
        Stopped: Nobody waits any more.
    """
    target, part = _target(served.targets, request.target, version.name)
    label = _label(target, request.class_label)
    columns = len(served.features.columns)
    _require_few(inputs.rows, request, columns, request.method or Method.INTEGRATED_GRADIENTS)
    tensor = inputs.features(served.features, images, version.described)
    stopping.check()
    if target.task is Task.REGRESSION:
        labels: NDArray[np.int64] = np.zeros(len(tensor), np.int64)
    elif label is not None:
        labels = np.full(len(tensor), label)
    else:
        labels = served.run(tensor)[:, part].argmax(axis=1)
    space = FeatureSpace.of(served.features, served.model)
    with torch.no_grad():
        rows = space.features(tensor)
    outputs = torch.from_numpy(labels + part.start)
    contributions, method = _contributions(space, rows, outputs, request, stopping)
    return Explanation(
        version=version,
        target=target.name,
        class_labels=tuple(target.classes[each] for each in labels.tolist()) if target.classes else (),
        method=method,
        columns=space.columns,
        contributions=_in_unit(contributions, target),
    )


def _contributions(
    space: FeatureSpace, rows: Tensor, outputs: Tensor, request: ExplanationRequest, stopping: Stopping
) -> tuple[Contributions, Method]:
    """Contributions to what the network puts out, and how they were found."""
    given = _outputs(space, rows, outputs, stopping)
    with torch.no_grad():
        # What an average row gives; classes that are explained may differ from row to row.
        baseline = space.model.compute(space.baseline[None])[0].double()[outputs]
    if request.method is not Method.PERMUTATION:
        try:
            found = integrated_gradients(space, rows, outputs, request.steps, stopping)
            if (found == 0).all() and (given != baseline).any():  # it goes in steps, such as by rounding
                raise NoGradients
        except NoGradients as error:
            if request.method is Method.INTEGRATED_GRADIENTS:
                message = "this network has no gradients: leave the method out, or ask for PERMUTATION"
                raise InvalidArgument(Reason.INVALID_FIELD, message, field="method") from error
            _require_few(len(rows), request, len(space.columns), Method.PERMUTATION)
        else:
            return Contributions(found.numpy(), given.numpy(), baseline.numpy()), Method.INTEGRATED_GRADIENTS
    found = sampled_shapley(space, rows, outputs, request.steps, request.seed, stopping)
    return Contributions(found.numpy(), given.numpy(), baseline.numpy()), Method.PERMUTATION


def _outputs(space: FeatureSpace, rows: Tensor, outputs: Tensor, stopping: Stopping) -> Tensor:
    """The output of each row (N,), float64, of the index that `outputs` (N,) gives."""
    found = torch.empty(len(rows), dtype=torch.float64)
    for part in batches(len(rows), rows.shape[1]):
        stopping.check()
        with torch.no_grad():
            computed = space.model.compute(rows[part])
        found[part] = computed.gather(1, outputs[part][:, None])[:, 0].double()
    return found


def _in_unit(contributions: Contributions, target: FittedTarget) -> Contributions:
    """In the target's own unit; logits of a class stay as they are."""
    if target.task is not Task.REGRESSION:
        return contributions
    return Contributions(
        contributions.values * target.deviation,
        contributions.outputs * target.deviation + target.mean,
        contributions.baseline_outputs * target.deviation + target.mean,
    )


def _target(targets: FittedTargets, name: str, version: str) -> tuple[FittedTarget, slice]:
    """The target of this name, or the only one, with its part of the network's outputs."""
    known = some_of([target.name for target in targets.targets])
    if not name and len(targets.targets) > 1:
        message = f"{version} predicts {known}: name the target to explain"
        raise InvalidArgument(Reason.INVALID_FIELD, message, field="target")
    for target, part in targets.slices:
        if name in ("", target.name):
            return target, part
    message = f"{version} predicts no '{name}': it predicts {known}"
    raise InvalidArgument(Reason.INVALID_FIELD, message, field="target")


def _label(target: FittedTarget, label: str) -> int | None:
    """The index of the class of this name; None for that which is predicted."""
    if not label:
        return None
    if label in target.classes:
        return target.classes.index(label)
    if not target.classes:
        message = f"target '{target.name}' is a number and has no class '{label}': leave class_label out"
    else:
        message = f"target '{target.name}' has no class '{label}': it has {some_of(target.classes)}"
    raise InvalidArgument(Reason.INVALID_FIELD, message, field="class_label")


def _require_few(rows: int, request: ExplanationRequest, columns: int, method: Method) -> None:
    runs_of_row, by = request.steps, f"{request.steps} steps"
    if method is Method.PERMUTATION:
        runs_of_row, by = request.steps * columns, f"{request.steps} orders of {columns} columns"
    if max(1, rows) * runs_of_row > MAX_RUNS:
        raise _too_many(rows, f"{by} are more than {MAX_RUNS} runs of the network", MAX_RUNS // runs_of_row)
    if rows * columns > MAX_CONTRIBUTIONS:
        many = f"{columns} columns are more than {MAX_CONTRIBUTIONS} contributions"
        raise _too_many(rows, many, MAX_CONTRIBUTIONS // columns)


def _too_many(rows: int, problem: str, most: int) -> ResourceExhausted:
    remedy = f"ask for at most {most} rows at a time" if most else "ask for fewer steps"
    return ResourceExhausted(Reason.LIMIT_EXCEEDED, f"{rows} rows by {problem}: {remedy}", field="inputs")
