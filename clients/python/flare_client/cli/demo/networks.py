"""The demo's own networks: ordinary PyTorch modules, as somebody who never heard of Flare would write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RowReader(nn.Module):
    """Reads an image row by row with an LSTM and says from its last output what it saw."""

    def __init__(self, row_width: int = 8, hidden_size: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.lstm = nn.LSTM(row_width, hidden_size, batch_first=True)
        self.norm = nn.LayerNorm(hidden_size)
        self.classify = nn.Linear(hidden_size, classes)

    def forward(self, image: Tensor) -> Tensor:
        """(N, rows, row_width) to logits (N, classes)."""
        outputs, _ = self.lstm(image)
        logits: Tensor = self.classify(self.norm(outputs[:, -1]))
        return logits


class ColumnReader(nn.Module):
    """Lets the columns of a table attend to each other: every feature is a token of its own."""

    def __init__(self, features: int, outputs: int, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Linear(1, width)
        self.column = nn.Parameter(torch.randn(features, width) * 0.02)
        self.encode = nn.TransformerEncoderLayer(width, nhead=2, dim_feedforward=2 * width, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(N, features) to (N, outputs)."""
        tokens = self.embed(features.unsqueeze(-1)) + self.column
        outputs: Tensor = self.head(self.encode(tokens).mean(dim=1))
        return outputs
