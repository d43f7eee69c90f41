"""The networks that other servers serve, in plain PyTorch: a perceptron 30-128-128-2, and a CNN for 1x28x28 images."""

import torch
from torch import nn

COLUMNS = 30
IMAGE = (1, 28, 28)


def eager_network(kind: str) -> nn.Sequential:
    """`mlp` or `cnn`, with weights drawn from a fixed seed, in evaluation mode."""
    torch.manual_seed(0)
    if kind == "mlp":
        layers: list[nn.Module] = [nn.Linear(COLUMNS, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(128, 2)).eval()
    return nn.Sequential(
        nn.Unflatten(1, IMAGE),
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    ).eval()
