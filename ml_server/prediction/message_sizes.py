"""How many bytes messages take at most: answers that none can hold are refused before they are computed."""

from collections.abc import Sequence
from dataclasses import dataclass

from ml_server.features.columns import ColumnType
from ml_server.features.encodings import CategoryEncoding, ImageEncoding
from ml_server.features.features import FittedFeatures
from ml_server.features.targets import FittedTarget, FittedTargets, Task
from ml_server.prediction.output_tensors import RequestedOutput, require_outputs
from ml_server.prediction.served_version import ServedVersion
from ml_server.prediction.signature import probabilities_name
from servicekit.errors import InvalidArgument, Reason

# Of names, shapes, ids and digests, beside the names of targets.
HEAD_BYTES = 8 << 10
# Of one target or tensor: its shape, and tags and lengths around its values.
FRAME_BYTES = 64
# Around a text in a message: what it is and how long, as raw contents or as a field.
TEXT_BYTES = 4
# The text `0.123456:12:` before the label of one of the best classes, but for the digits of the class.
BEST_BYTES = 10
# Of so few features and outputs the smallest message that a server may be set to holds the answer.
FEW_CELLS = 4096


@dataclass(frozen=True, slots=True)
class MessageSize:
    """The most bytes that a message takes for each row, and beside them."""

    row: int
    head: int

    def most_rows(self, message_bytes: int) -> int:
        """How many rows surely fit into a message."""
        return max(0, message_bytes - self.head) // self.row

    def require_fits(self, rows: int, message_bytes: int, fewer: str = "") -> None:
        """Raises InvalidArgument (INVALID_FIELD) if the rows may not fit; `fewer` is what else could be asked for."""
        most = self.most_rows(message_bytes)
        if rows <= most:
            return
        size = f"the answer to {rows} rows takes up to {self.head + rows * self.row} bytes"
        remedies = [f"for {most} rows at a time" if most else "", fewer]
        raise _too_large(size, message_bytes, " or ".join(filter(None, remedies)))


def _too_large(size: str, message_bytes: int, remedy: str) -> InvalidArgument:
    limit = f"messages have at most {message_bytes} (FLARE_ML_MAX_MESSAGE_BYTES)"
    return InvalidArgument(Reason.INVALID_FIELD, f"{size}, and {limit}: ask {remedy}", field="inputs")


def require_row_errors_fit(size_bytes: int, rows: int, row_errors: int, message_bytes: int) -> None:
    """Raises InvalidArgument (INVALID_FIELD) if an answer is too large by what it tells of single rows."""
    if size_bytes > message_bytes:
        size = f"the answer to {rows} rows, {row_errors} of them with an error, takes {size_bytes} bytes"
        raise _too_large(size, message_bytes, "for fewer rows at a time")


def require_tensors(served: ServedVersion, rows: int, requested: Sequence[RequestedOutput], message_bytes: int) -> None:
    """Raises InvalidArgument (INVALID_FIELD) if there is no such answer, or none that fits into a message."""
    require_outputs(served.output_names, requested)
    if rows * served.most_cells > FEW_CELLS:
        tensors_size(served.targets, requested).require_fits(rows, message_bytes, "for fewer outputs")


def require_explanation(served: ServedVersion, rows: int, message_bytes: int) -> None:
    """Raises InvalidArgument (INVALID_FIELD) if no message can hold an ExplainResponse of so many rows."""
    columns = served.features.columns
    label = TEXT_BYTES + max(target.label_bytes for target in served.targets.targets)
    head = HEAD_BYTES + sum(TEXT_BYTES + len(column.name.encode()) for column in columns)
    MessageSize(label + 8 * (len(columns) + 2), head).require_fits(rows, message_bytes)


def require_columns(served: ServedVersion, rows: int, top: int, message_bytes: int) -> None:
    """Raises InvalidArgument (INVALID_FIELD) if no message can hold a PredictResponse of so many rows."""
    if rows * served.most_cells > FEW_CELLS:
        table_size(served.targets, top).require_fits(rows, message_bytes, "for a few classes of each with `top`")


def columns_size(features: FittedFeatures) -> MessageSize:
    """Of a request with a tensor for each column: known categories, and images as large as their pixels."""
    row, head = 0, HEAD_BYTES
    for column in features.columns:
        head += FRAME_BYTES + len(column.name.encode())
        if isinstance(column.encoding, ImageEncoding):
            row += TEXT_BYTES + column.encoding.shape.size_bytes
        elif column.type.is_textual:
            assert isinstance(column.encoding, CategoryEncoding), column.name
            row += TEXT_BYTES + max((len(each.encode()) for each in column.encoding.categories), default=0)
        else:
            row += 1 if column.type is ColumnType.BOOLEAN else 8
    return MessageSize(row, head)


def tensors_size(targets: FittedTargets, requested: Sequence[RequestedOutput] = ()) -> MessageSize:
    """Of an answer with these outputs, which the targets have, or with all of them, raw or in typed contents."""
    sizes: dict[str, tuple[int, FittedTarget]] = {}
    names = [target.name for target in targets.targets]
    for target in targets.targets:
        if target.task is Task.REGRESSION:
            sizes[target.name] = (8, target)
        else:
            sizes[target.name] = (TEXT_BYTES + target.label_bytes, target)
            sizes[probabilities_name(target.name, names)] = (4 * len(target.classes), target)
    row, head = 0, HEAD_BYTES
    for output in requested or map(RequestedOutput, sizes):
        size, target = sizes[output.name]
        row += _best_size(target, output.top) if output.top else size
        head += FRAME_BYTES + len(output.name.encode())
    return MessageSize(row, head)


def _best_size(target: FittedTarget, top: int) -> int:
    classes = len(target.classes)
    return min(top, classes) * (TEXT_BYTES + BEST_BYTES + len(str(classes)) + target.label_bytes)


def table_size(targets: FittedTargets, top: int) -> MessageSize:
    """Of a PredictResponse: the `top` classes of each row, or the probabilities of all of them if it is 0."""
    row, head = 0, HEAD_BYTES
    for target in targets.targets:
        head += FRAME_BYTES + len(target.name.encode())
        if target.task is Task.REGRESSION:
            row += 8
            continue
        label, classes = TEXT_BYTES + target.label_bytes, len(target.classes)
        row += label + (min(top, classes) * (label + 8) if top else 8 * classes)
        head += 0 if top else label * classes
    return MessageSize(row, head)
