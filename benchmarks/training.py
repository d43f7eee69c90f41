"""Measures trainings: prints a JSON object a line, a figure each. `--help` names them."""

from benchmarks.command import Figures, measure
from benchmarks.first_batch import first_batch_cached, first_batch_cold
from benchmarks.streamed_training import block_shuffle_accuracy, streamed_training, streamed_training_memory
from benchmarks.training_latency import cancel_latency, submit_to_first_step
from benchmarks.training_memory import warm_worker_memory
from benchmarks.training_speed import (
    train_cnn_512,
    train_mlp_64,
    train_mlp_512,
    train_mlp_512_vs_lightning,
    train_mlp_512_vs_one_row,
    train_mlp_512_whole_epochs,
    train_mlp_4096,
)
from benchmarks.training_watch import events_overhead, watchers_overhead

FIGURES: Figures = {
    "train_mlp_64": train_mlp_64,
    "train_mlp_512": train_mlp_512,
    "train_mlp_4096": train_mlp_4096,
    "train_mlp_512_whole_epochs": train_mlp_512_whole_epochs,
    "train_cnn_512": train_cnn_512,
    "train_mlp_512_vs_lightning": train_mlp_512_vs_lightning,
    "train_mlp_512_vs_one_row": train_mlp_512_vs_one_row,
    "submit_to_first_step": submit_to_first_step,
    "cancel_latency": cancel_latency,
    "events_overhead": events_overhead,
    "watchers_overhead": watchers_overhead,
    "warm_worker_memory": warm_worker_memory,
    "block_shuffle_accuracy": block_shuffle_accuracy,
    "streamed_training": streamed_training,
    "streamed_training_memory": streamed_training_memory,
    "first_batch_cold": first_batch_cold,
    "first_batch_cached": first_batch_cached,
}


def main(arguments: list[str] | None = None) -> None:
    """Measures the figures named, or all."""
    measure("benchmarks.training", __doc__, FIGURES, arguments)


if __name__ == "__main__":
    main()
