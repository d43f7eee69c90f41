"""The fastest loop that can be written by hand: nothing but steps. Prints rows a second, the median over epochs.

It reads no loss, looks for nothing, tells nothing, saves nothing and validates nothing.
"""

import statistics
import sys
import time

import torch
from torch import nn

from benchmarks.peers.made_networks import ChannelsLast, made_network
from benchmarks.peers.made_rows import made_rows

GATHERED_ROWS = 65_536


def main(kind: str, rows: int, batch: int, epochs: int, threads: int) -> None:
    """Trains as often as asked; the first epoch warms up."""
    torch.set_num_threads(threads)
    features, classes = map(torch.from_numpy, made_rows(kind, rows))
    network = made_network(kind)
    if kind == "cnn":
        assert isinstance(network, nn.Sequential)
        network = ChannelsLast(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    rates = []
    chunk = max(batch, GATHERED_ROWS // batch * batch)
    for _ in range(epochs):
        start = time.perf_counter()
        order = torch.randperm(rows)
        for first in range(0, rows, chunk):
            chosen = order[first : first + chunk]
            inputs, targets = features[chosen], classes[chosen]
            for at in range(0, len(chosen), batch):
                loss = nn.functional.cross_entropy(network(inputs[at : at + batch]), targets[at : at + batch])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        rates.append(rows / (time.perf_counter() - start))
    print(statistics.median(rates[1:] or rates))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
