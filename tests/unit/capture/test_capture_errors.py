"""What a graph can't express is an error that names the module or line, and the remedy; it is never left out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # as everyone calls it
from flare_client import FlareError
from flare_client.capture import CaptureError, capture
from torch import Tensor, nn

Forward = Callable[[Any, Tensor], Any]


class Written(nn.Module):
    """A module with one linear layer and any forward."""

    def __init__(self, forward: Forward, **parts: nn.Module) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.written = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Any:
        return self.written(self, x)


def refused(module: nn.Module, shape: tuple[int, ...], *texts: str) -> None:
    with pytest.raises(CaptureError) as caught:
        capture(module, shape)
    for text in texts:
        assert text in str(caught.value)


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...], str]] = {
    "another convolution": (nn.ConvTranspose1d(2, 2, 3), (2, 5), "a graph has no ConvTranspose1d"),
    "another nonlinearity": (nn.ReLU6(), (4,), "a graph has no ReLU6"),
    "its constant": (nn.LeakyReLU(0.2), (4,), "its negative_slope is 0.2: use the default, 0.01"),
    "approximate gelu": (nn.GELU("tanh"), (4,), "its approximate is tanh"),
    "channel dropout": (nn.Dropout2d(0.5), (2, 4, 4), "a graph has no Dropout2d"),
    "dropout in place": (nn.Dropout(0.5, inplace=True), (4,), "inplace=False"),
    "log softmax": (nn.LogSoftmax(dim=1), (4,), "return what goes into it instead"),
    "softmax over rows": (nn.Softmax(dim=0), (4,), "mixes the rows of a batch"),
    "padding mode": (nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular"), (2, 5), "'circular'"),
    "even window": (nn.Conv1d(2, 2, 4, padding="same"), (2, 5), "use an odd kernel_size"),
    "ceil mode": (nn.MaxPool1d(2, ceil_mode=True), (2, 5), "ceil_mode"),
    "uncounted padding": (nn.AvgPool1d(2, padding=1, count_include_pad=False), (2, 5), "does not count all places"),
    "momentum": (nn.BatchNorm1d(4, momentum=0.0), (4,), "momentum=0.0"),
    "running statistics": (nn.BatchNorm1d(4, track_running_stats=False), (4,), "track_running_stats=False"),
    "padding index": (nn.Embedding(4, 2, padding_idx=0), (3,), "padding_idx"),
    "projection": (nn.LSTM(4, 5, proj_size=2, batch_first=True), (3, 4), "proj_size"),
    "recurrent without bias": (nn.GRU(4, 5, bias=False, batch_first=True), (3, 4), "leave bias=True"),
    "steps first": (nn.LSTM(4, 5), (3, 4), "set batch_first=True"),
    "layer norm without shift": (nn.LayerNorm(4, bias=False), (4,), "use both or neither"),
    "encoder eps": (
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, layer_norm_eps=1e-6),
        (3, 4),
        "layer_norm_eps",
    ),
    "encoder activation": (
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation=torch.tanh),
        (3, 4),
        "neither ReLU nor GELU",
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_that_a_graph_lacks(name: str) -> None:
    layer, shape, text = LAYERS[name]
    module = nn.Sequential(nn.Identity(), layer)
    refused(module, shape, "module '1'", text)


def first_row(_: Any, x: Tensor) -> Tensor:
    return x[0] + x


def mask_of_attention(module: Any, x: Tensor) -> Tensor:
    attended: Tensor = module.attention(x, x, x, attn_mask=torch.zeros(3, 3))[0]
    return attended


FORWARDS: dict[str, tuple[Forward, tuple[int, ...], str]] = {
    "unknown function": (lambda m, x: torch.fft.fft(m.fc(x)).real, (4,), "a graph has no 'fft_fft'"),
    "unknown method": (lambda m, x: m.fc(x).cumsum(1), (4,), "a graph has no 'cumsum'"),
    "division by what is computed": (lambda m, x: m.fc(x) / x, (4,), "divide by numbers or buffers only"),
    "mean over rows": (lambda m, x: m.fc(x).mean(0), (4,), "mixes the rows of a batch"),
    "mean over all": (lambda m, x: m.fc(x).mean(), (4,), "mixes the rows of a batch"),
    "a row": (lambda m, x: m.fc(x)[0], (4,), "mixes the rows of a batch"),
    "some rows": (lambda m, x: m.fc(x)[1:], (4,), "mixes the rows of a batch"),
    "a row for all": (first_row, (4,), "mixes the rows of a batch"),
    "rows joined with steps": (lambda m, x: m.fc(x.view(-1, 4)), (3, 4), "mixes the rows of a batch"),
    "every second": (lambda m, x: m.fc(x)[:, ::2], (4,), "every 2th place"),
    "a branch on data": (lambda m, x: m.fc(x) if x.sum() > 0 else x, (4,), "forward can't be traced"),
    "a loop over a size": (lambda m, x: sum(m.fc(x[:, i]) for i in range(x.shape[1])), (3, 4), "can't be traced"),
    "a scale of the batch": (lambda m, x: m.fc(x) * x.shape[0], (4,), "the size of the batch"),
    "noise of the batch": (lambda m, x: m.fc(x) + torch.randn(x.shape[0], 4), (4,), "depends on the size of the batch"),
    "two results": (lambda m, x: (m.fc(x), x), (4,), "it returns 2 values"),
    "a constant": (lambda m, x: torch.zeros(x.shape[0], 4), (4,), "it returns"),
    "its input": (lambda m, x: x, (4,), "it returns its input"),
    "too many dimensions": (lambda m, x: m.fc(x), (3, 4), "return the logits"),
    "calls twice": (lambda m, x: m.fc(torch.relu(m.fc(x))), (4,), "it is called twice"),
    "weights of a layer": (lambda m, x: m.fc(x) @ m.fc.weight, (4,), "it shares weights with 'fc.weight'"),
    "dropout always": (lambda m, x: F.dropout(m.fc(x), 0.5), (4,), "pass training=self.training"),
    "another in training": (lambda m, x: m.fc(x) * 2 if m.training else m.fc(x), (4,), "in training mode"),
    "no gradients": (lambda m, x: m.fc(x).detach(), (4,), "take the detach out"),
    "truncation": (lambda m, x: m.fc(x.long().float()), (4,), "of whole numbers"),
    "arithmetic of whole numbers": (lambda m, x: m.fc(x) + x.long() * 2, (4,), "whole numbers"),
    "squeezed by name": (lambda m, x: F.softmax(m.fc(x)), (4,), "give `dim`"),
    "assignment": (lambda m, x: m.fc(x).index_fill_(1, torch.tensor([0]), 0.0), (4,), "a graph has no"),
    "unknown argument": (lambda m, x: torch.sum(m.fc(x)[..., None], 2, dtype=torch.float32), (4,), "no place for"),
    "initial states": (lambda m, x: m.fc(m.gru(x, torch.ones(1, x.shape[0], 4))[1][0]), (3, 4), "not zero"),
    "states of the input": (lambda m, x: m.fc(m.gru(x, x[None, :, 0])[1][0]), (3, 4), "not zero"),
    "a mask": (mask_of_attention, (3, 4), "leave masks out"),
    "overwritten": (lambda m, x: (y := m.fc(x), F.relu(y, inplace=True), y + 1)[2], (4,), "overwrites in place"),
    "overwritten view": (lambda m, x: (y := m.fc(x), y.view(-1, 2, 2).mul_(2), y + 1)[2], (4,), "overwrites in place"),
    "a wrong width": (lambda m, x: m.fc(x[:, 1:]), (4,), "it fails on inputs of shapes [(2, 3)]"),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_forward_that_a_graph_lacks(name: str) -> None:
    forward, shape, text = FORWARDS[name]
    parts = {"gru": nn.GRU(4, 4, batch_first=True), "attention": nn.MultiheadAttention(4, 2, batch_first=True)}
    refused(Written(forward, **parts), shape, text)


def test_the_line_and_the_module_are_named() -> None:
    inner = Written(lambda m, x: torch.cumsum(m.fc(x), 1))
    module = nn.Sequential(nn.Linear(4, 4), inner)
    refused(module, (4,), "cumsum", "test_capture_errors.py:", "in module '1'")


def test_tied_weights() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    module[2].weight = module[0].weight
    refused(module, (4,), "module '2'", "it shares weights with '_0.weight'")


def test_frozen_weights() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[0].requires_grad_(False)
    refused(module, (4,), "module '0'", "requires_grad=False", "requires_grad_(True)")


def test_hooks() -> None:
    module = nn.Sequential(nn.Linear(4, 4))
    module[0].register_forward_hook(lambda *_: None)
    refused(module, (4,), "module '0'", "forward hooks")


def test_parametrized_weights() -> None:
    module = nn.Sequential(nn.Linear(4, 4))
    nn.utils.parametrizations.weight_norm(module[0])
    refused(module, (4,), "module '0'")


def test_several_inputs() -> None:
    refused(nn.Bilinear(4, 4, 2), (4,), "takes more than one input")


def test_a_wrong_input_shape_is_told_where_it_fails() -> None:
    refused(nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 1)), (4,), "module '1'", "[(2, 4)]", "check input_shape")


def test_it_is_an_error_of_the_client() -> None:
    with pytest.raises(FlareError) as caught:
        capture(nn.Sequential(nn.ReLU6()), (4,))
    assert "\n" not in str(caught.value)
