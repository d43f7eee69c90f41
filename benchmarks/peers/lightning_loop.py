"""Lightning's Trainer as its documentation shows it, with a DataLoader. Prints rows a second, the median over epochs.

Runs with the Python of an environment that has Lightning, see install_lightning.sh.
"""

import logging
import statistics
import sys
import tempfile
import time
import warnings
from typing import Any

import torch
from lightning import LightningModule, Trainer  # type: ignore[import-not-found]
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.made_networks import made_network
from benchmarks.peers.made_rows import made_rows


class Module(LightningModule):  # type: ignore[misc]
    """The network with its loss and optimizer, and the seconds of each epoch."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.network = made_network(kind)
        self.seconds: list[float] = []

    def on_train_epoch_start(self) -> None:
        """Notes the time."""
        self.start = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """Notes what the epoch took."""
        self.seconds.append(time.perf_counter() - self.start)

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """The loss of a batch."""
        features, classes = batch
        return nn.functional.cross_entropy(self.network(features), classes)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Fused Adam, as everywhere here."""
        return torch.optim.Adam(self.parameters(), lr=1e-3, fused=True)


def main(kind: str, rows: int, batch: int, epochs: int, threads: int) -> None:
    """Trains as often as asked; the first epoch warms up."""
    torch.set_num_threads(threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    features, classes = map(torch.from_numpy, made_rows(kind, rows))
    module = Module(kind)
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(
            max_epochs=epochs, accelerator="cpu", devices=1, default_root_dir=directory, enable_progress_bar=False
        )
        trainer.fit(module, DataLoader(TensorDataset(features, classes), batch_size=batch, shuffle=True))
    rates = [rows / seconds for seconds in module.seconds]
    print(statistics.median(rates[1:] or rates))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
