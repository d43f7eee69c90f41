"""How the columns of the network's input tensor are laid out."""

import torch
from torch import Tensor, nn

from ml_server.networks.specification import ImageShape
from ml_server.networks.values import AtLeastOne, NotNegative, Value


class EmbeddingColumn(Value):
    """A column of category codes 0 .. categories - 1, each of which gets a learned vector of `dim` numbers."""

    name: str
    categories: AtLeastOne
    dim: AtLeastOne


class FeatureLayout(Value):
    """The input tensor (N, columns), float32: first `dense` numbers, then one category code per embedding."""

    dense: NotNegative
    embeddings: tuple[EmbeddingColumn, ...] = ()
    image: ImageShape | None = None
    """The image that stands among the dense numbers, if an input column holds images."""

    @property
    def columns(self) -> int:
        """Columns of the input tensor."""
        return self.dense + len(self.embeddings)

    @property
    def features(self) -> int:
        """Features that the architecture sees: the numbers, and each code as its vector."""
        return self.dense + sum(embedding.dim for embedding in self.embeddings)


class EmbeddingInput(nn.Module):
    """Turns the input tensor (N, layout.columns) into features (N, layout.features)."""

    def __init__(self, layout: FeatureLayout) -> None:
        super().__init__()
        self.dense = layout.dense
        self.tables = nn.ModuleList(nn.Embedding(column.categories, column.dim) for column in layout.embeddings)

    def forward(self, columns: Tensor) -> Tensor:
        codes = columns[:, self.dense :].long()
        vectors = [table(codes[:, index]) for index, table in enumerate(self.tables)]
        return torch.cat([columns[:, : self.dense], *vectors], dim=1)
