"""Rows a second of trainings through the service, with validation, events and checkpoints, beside other loops."""

import os
import statistics
import sys
from collections.abc import Callable

from benchmarks.figures import Figure
from benchmarks.sizes import Sizes
from benchmarks.training_service import TrainingService, epochs_rate, peer_rate, steps_rate, training_service

# The Python of an environment that has Lightning, see peers/install_lightning.sh.
LIGHTNING_PYTHON = "FLARE_BENCHMARK_LIGHTNING_PYTHON"
LIMIT = "the hand-written limit loop"


def train_mlp_64(sizes: Sizes) -> Figure:
    """A perceptron 32-256-256-2, batches of 64 rows."""
    return _beside_limit("train_mlp_64", "mlp", sizes.training_rows, 64, sizes)


def train_mlp_512(sizes: Sizes) -> Figure:
    """The same with batches of 512 rows."""
    return _beside_limit("train_mlp_512", "mlp", sizes.training_rows, 512, sizes)


def train_mlp_4096(sizes: Sizes) -> Figure:
    """The same with batches of 4096 rows."""
    return _beside_limit("train_mlp_4096", "mlp", sizes.training_rows, 4096, sizes)


def train_cnn_512(sizes: Sizes) -> Figure:
    """A CNN of two blocks on 3x16x16 images, batches of 512 rows; its limit has its maps in channels_last."""
    return _beside_limit("train_cnn_512", "cnn", sizes.image_rows, 512, sizes)


def train_mlp_512_whole_epochs(sizes: Sizes) -> Figure:
    """As train_mlp_512, by the time of whole epochs: validation, metrics and checkpoints count, in the limit not."""
    with training_service("mlp", sizes.training_rows, sizes) as service:
        rows = service.train_rows
        value, reference = _in_turns(
            sizes,
            lambda: epochs_rate(service.start(512, sizes.training_epochs), rows),
            lambda: peer_rate("limit_loop", "mlp", rows, 512, sizes),
        )
    return Figure.of_rate("train_mlp_512_whole_epochs", value, "rows/s", LIMIT, reference)


def train_mlp_512_vs_lightning(sizes: Sizes) -> Figure:
    """Beside Lightning's Trainer with a DataLoader, at its defaults."""
    python = os.environ.get(LIGHTNING_PYTHON, sys.executable)
    return _beside(
        "train_mlp_512_vs_lightning",
        "Lightning's Trainer",
        sizes,
        lambda rows: peer_rate("lightning_loop", "mlp", rows, 512, sizes, python),
    )


def train_mlp_512_vs_one_row(sizes: Sizes) -> Figure:
    """Beside a loop that makes a step for each row."""
    rows = sizes.one_row_rows
    return _beside(
        "train_mlp_512_vs_one_row",
        "a step for each row",
        sizes,
        lambda _: peer_rate("one_row_loop", "mlp", rows, 1, sizes),
    )


def _beside_limit(figure: str, kind: str, rows: int, batch: int, sizes: Sizes) -> Figure:
    with training_service(kind, rows, sizes) as service:
        value, reference = _in_turns(
            sizes,
            lambda: _ours(service, batch, sizes),
            lambda: peer_rate("limit_loop", kind, service.train_rows, batch, sizes),
        )
    return Figure.of_rate(figure, value, "rows/s", LIMIT, reference)


def _beside(figure: str, name: str, sizes: Sizes, peer: Callable[[int], float]) -> Figure:
    with training_service("mlp", sizes.training_rows, sizes) as service:
        value, reference = _in_turns(sizes, lambda: _ours(service, 512, sizes), lambda: peer(service.train_rows))
    return Figure.of_rate(figure, value, "rows/s", name, reference)


def _ours(service: TrainingService, batch: int, sizes: Sizes) -> float:
    return steps_rate(service.start(batch, sizes.training_epochs))


def _in_turns(sizes: Sizes, ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[float, float]:
    """The medians of both sides, measured in turns: a slow minute of the machine is a slow one of both."""
    rates = [(ours(), theirs()) for _ in range(sizes.runs)]
    first, second = zip(*rates, strict=True)
    return statistics.median(first), statistics.median(second)
