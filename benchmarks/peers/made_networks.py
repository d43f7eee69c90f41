"""The networks that all sides train, in plain PyTorch."""

from torch import Tensor, nn

from benchmarks.peers.made_rows import IMAGE, PERCEPTRON_INPUTS

HIDDEN_UNITS = (256, 256)
CHANNELS = (32, 64)


def made_network(kind: str) -> nn.Module:
    """32-256-256-2, or two blocks of convolution, batch normalisation, ReLU and pooling."""
    if kind == "mlp":
        first, second = HIDDEN_UNITS
        return nn.Sequential(
            *(nn.Linear(PERCEPTRON_INPUTS, first), nn.ReLU()),
            *(nn.Linear(first, second), nn.ReLU()),
            nn.Linear(second, 2),
        )
    layers: list[nn.Module] = [nn.Unflatten(1, IMAGE)]
    before = IMAGE[0]
    for channels in CHANNELS:
        layers += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)]
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 2))


class ChannelsLast(nn.Module):
    """An image network whose weights and maps lie channel by channel, as the processor's kernels like them."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.unflatten, self.rest = network[0], network[1:]

    def forward(self, features: Tensor) -> Tensor:
        """As the network."""
        import torch

        outputs: Tensor = self.rest(self.unflatten(features).contiguous(memory_format=torch.channels_last))
        return outputs
