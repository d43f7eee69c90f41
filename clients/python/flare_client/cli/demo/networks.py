"""The demo's own networks: ordinary PyTorch modules, as somebody who never heard of Flare would write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RowReader(nn.Module):
    """Reads an image as a sequence of its rows with a transformer encoder."""

    def __init__(self, rows: int = 8, row_width: int = 8, width: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.embed = nn.Linear(row_width, width)
        self.place = nn.Parameter(torch.randn(rows, width) * 0.02)
        self.encode = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=128, dropout=0.2, batch_first=True)
        self.drop = nn.Dropout(0.2)
        self.classify = nn.Linear(rows * width, classes)

    def forward(self, image: Tensor) -> Tensor:
        """(N, rows, row_width) to logits (N, classes)."""
        encoded = self.encode(self.embed(image) + self.place)
        logits: Tensor = self.classify(self.drop(encoded.flatten(1)))
        return logits


class TableReader(nn.Module):
    """Makes a few summaries of a table's row and lets them attend to each other with a transformer encoder."""

    def __init__(self, features: int, outputs: int, summaries: int = 8, width: int = 16) -> None:
        super().__init__()
        self.summarise = nn.Linear(features, summaries * width)
        self.part = nn.Unflatten(1, (summaries, width))
        self.encode = nn.TransformerEncoderLayer(width, nhead=2, dim_feedforward=32, dropout=0.1, batch_first=True)
        self.head = nn.Linear(summaries * width, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(N, features) to (N, outputs)."""
        encoded = self.encode(self.part(self.summarise(features)))
        outputs: Tensor = self.head(encoded.flatten(1))
        return outputs
