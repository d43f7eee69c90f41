"""One row at a time, forward, backward, step: how a first course has it. Prints rows a second."""

import sys
import time

import torch
from torch import nn

from benchmarks.peers.made_networks import made_network
from benchmarks.peers.made_rows import made_rows


def main(kind: str, rows: int, _batch: int, _epochs: int, threads: int) -> None:
    """Trains one epoch."""
    torch.set_num_threads(threads)
    features, classes = map(torch.from_numpy, made_rows(kind, rows))
    network, start = made_network(kind), time.perf_counter()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for at in range(rows):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(features[at : at + 1]), classes[at : at + 1])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    print(rows / (time.perf_counter() - start))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
