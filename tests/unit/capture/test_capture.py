"""The law of capture: the server's network of a captured graph, with its weights, computes what the module computes."""

import copy
import math
from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # as everyone calls it
from flare.ml.v1 import specification_pb2
from flare.ml.v1 import torch_graph_pb2 as pb
from flare_client.capture import CapturedModule, capture
from google.protobuf.message import Message
from torch import Tensor, nn

from ml_server.networks.feature_layout import FeatureLayout
from ml_server.networks.manageable_model import ManageableModel, ModelConfig, build_model
from ml_server.networks.shapes import check_shapes
from ml_server.networks.weights import check_weights, load_initial_weights
from ml_server.rpc.specification_converters import model_specification


class LstmClassifier(nn.Module):
    """As in most tutorials: zero states spelled out, the last step's output."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 12, num_layers=2, batch_first=True, bidirectional=True, dropout=0.1)
        self.fc = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        h0 = torch.zeros(4, x.size(0), 12).to(x.device)
        c0 = torch.zeros(4, x.size(0), 12).to(x.device)
        out, _ = self.lstm(x, (h0, c0))
        logits: Tensor = self.fc(out[:, -1, :])
        return logits


class LstmStates(nn.Module):
    """Hidden and cell states of both directions, of an LSTM with the steps first."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, bidirectional=True)
        self.fc = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        _, (h, c) = self.lstm(x.permute(1, 0, 2))
        logits: Tensor = self.fc(torch.cat((h[-2], h[-1], c[0], c[1]), dim=1))
        return logits


class GruClassifier(nn.Module):
    """The last hidden state, reshaped by row."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 5, num_layers=2, batch_first=True)
        self.fc = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, 8, 8)
        out, h = self.gru(x)
        states = h.permute(1, 0, 2).reshape(x.shape[0], -1)
        logits: Tensor = self.fc(states) + out.mean(dim=(1, 2), keepdim=False)[:, None]
        return logits


class GruLast(nn.Module):
    """`h[-1]` and `h.squeeze(0)`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.GRU(8, 5, batch_first=True)
        self.second = nn.GRU(5, 4, batch_first=True)
        self.fc = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        out, h = self.first(x)
        _, last = self.second(out)
        logits: Tensor = self.fc(torch.cat([h[-1], last.squeeze(0)], -1))
        return logits


class TransformerClassifier(nn.Module):
    """Learned positions, an encoder with a final norm, the mean over the steps."""

    def __init__(self, norm_first: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.embed = nn.Linear(8, 16)
        self.positions = nn.Parameter(torch.randn(1, 8, 16) * 0.02)
        layer = nn.TransformerEncoderLayer(
            16, 4, 32, dropout=0.1, activation="gelu", batch_first=batch_first, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(16), enable_nested_tensor=False)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.positions[:, : x.shape[1]]
        x = self.encoder(x) if self.batch_first else self.encoder(x.transpose(0, 1)).transpose(0, 1)
        logits: Tensor = self.head(x.mean(dim=1))
        return logits


class VisionTransformer(nn.Module):
    """Patches, a class token, sinusoidal positions in a buffer."""

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 12, 2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        steps = torch.arange(20)[:, None] * torch.exp(torch.arange(12)[None, :] * (-math.log(1000.0) / 12))
        self.register_buffer("positions", torch.sin(steps))
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.size(0), -1, -1), x], dim=1)
        if x.dim() != 3 or x.size(1) > self.positions.size(0):
            raise ValueError("too many patches")
        x = self.norm(x + self.positions[: x.size(1)])
        attended, _ = self.attention(x, x, x, need_weights=False)
        logits: Tensor = self.head((x + attended)[:, 0])
        return logits


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding="same", bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        result: Tensor = self.relu(out)
        return result


class SmallResNet(nn.Module):
    """Residual blocks with operations in place, as torchvision has them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.layers = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2))
        self.average = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.pool(self.stem(x)))
        logits: Tensor = self.fc(torch.flatten(self.average(x), 1))
        return logits


class AttentionPair(nn.Module):
    """Cross attention with its weights used, learned queries, and attention from its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(8, 8)
        self.cross = nn.MultiheadAttention(8, 2, dropout=0.1)
        self.latent = nn.MultiheadAttention(8, 4, bias=False, batch_first=True)
        self.queries = nn.Parameter(torch.randn(3, 8))
        self.qkv = nn.Linear(8, 24, bias=False)
        self.fc = nn.Linear(8 * 8 + 3 * 8, 2)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.transpose(0, 1)
        short = self.query(steps[:3])
        attended, weights = self.cross(short, steps, steps)
        learned, _ = self.latent(self.queries.unsqueeze(0).repeat(x.size(0), 1, 1), x, x)
        x = x + attended.transpose(0, 1).mean(1, keepdim=True) + learned.mean(1, keepdim=True)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (part.view(x.size(0), 8, 2, 4).transpose(1, 2) for part in (q, k, v))
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(4)
        mixed = (F.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(x.size(0), 8, 8)
        fast = F.scaled_dot_product_attention(q, k, v).permute(0, 2, 1, 3).flatten(2)
        logits: Tensor = self.fc(torch.cat([(mixed + fast).flatten(1), weights.flatten(1)], dim=1))
        return logits


class Tabular(nn.Module):
    """Categories in the last columns, embedded after a cast, and a table of positions."""

    ids: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.city = nn.Embedding(7, 3)
        self.kind = nn.Embedding(4, 2)
        self.position = nn.Embedding(5, 3)
        self.shift = nn.Parameter(torch.randn(1, 3))
        self.register_buffer("ids", torch.arange(5))
        self.norm = nn.BatchNorm1d(6)
        self.fc = nn.Linear(6 + 3 + 2 + 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        numbers, codes = x[:, :6], x[:, 6:].long()
        positions = self.position(self.ids)[None].expand(x.shape[0], -1, -1).sum(1)
        positions = positions + torch.arange(3)  # a tensor that forward makes
        positions = positions + self.shift.expand(x.shape[0], 3)[-1]
        features = [self.norm(numbers), self.city(codes[:, 0]), self.kind(codes[:, 1]), positions + numbers[:, :1]]
        value: Tensor = self.fc(torch.cat(features, dim=1)).squeeze(-1)
        return value


class Tokens(nn.Module):
    """A text model: an embedding takes the input as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 6)
        self.conv = nn.Conv1d(6, 5, 3, padding=1, groups=1)
        self.gru = nn.GRU(5, 4, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(8 + 5, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = F.relu(self.conv(self.embedding(tokens).permute(0, 2, 1)))
        outputs, _ = self.gru(x.transpose(2, 1))
        logits: Tensor = self.fc(torch.cat([outputs.max(dim=1).values, F.max_pool1d(x, 8).squeeze(2)], 1))
        return logits


class Arithmetic(nn.Module):
    """Numbers, buffers, parameters and functions in every order."""

    mean: Tensor
    deviation: Tensor
    two: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.rand(8))
        self.register_buffer("deviation", torch.rand(8) + 0.5)
        self.register_buffer("two", torch.tensor(2.0))
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.weight = nn.Parameter(torch.randn(4, 8))
        self.bias = nn.Parameter(torch.randn(4))
        self.gain = nn.Parameter(torch.rand(8))
        self.fixed = nn.Parameter(torch.rand(4), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.deviation
        x = 1 - x * 2 + x**2 / 4 - (-x) + self.two * x - x / 3.0
        x = F.layer_norm(x, (8,), self.gain, None) * self.scale
        x = F.linear(x, self.weight, self.bias) - self.fixed
        x = torch.tanh(x) + x.sigmoid() + F.gelu(x) + F.silu(x) + F.leaky_relu(x) + F.elu(x) + F.softplus(x)
        x = x + F.hardswish(x) + F.mish(x) + x.relu().softmax(dim=1)
        x = F.dropout(0.1 * x, 0.3, training=self.training)
        x = torch.stack([x, x.mul(2).sub(1).div(2)], dim=1)
        first, second = x.unbind(1)
        left, right = torch.split(first + second, [1, 3], dim=1)
        return torch.cat([left, right, x.amax(dim=1), x.sum(dim=1)], dim=-1)


class Normalizations(nn.Module):
    """Group, layer and batch normalisation, pooling as functions, indices of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.group = nn.GroupNorm(2, 4)
        self.layer = nn.LayerNorm([8, 8], elementwise_affine=False)
        self.unflatten = nn.Unflatten(1, (2, 2))
        self.fc = nn.Linear(4 * 16 + 4 * 4 + 2 * 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(self.group(self.conv(x)))
        pooled = F.avg_pool2d(F.max_pool2d(x, 2), 1)
        adaptive = F.adaptive_avg_pool2d(x, (2, None))[..., :2]
        parts = self.unflatten(x)[:, -1, 1, None, 2:4, :].squeeze(1)
        flat = [part.contiguous().view(part.size(0), -1) for part in (pooled, adaptive, parts)]
        logits: Tensor = self.fc(torch.cat(flat, 1))
        return logits


class Inherited(nn.Linear):
    """A user's layer that adds only a constructor."""

    def __init__(self) -> None:
        super().__init__(64, 3)


def numbers(*shape: int) -> Callable[[int], Tensor]:
    return lambda batch: torch.randn(batch, *shape)


def table(batch: int) -> Tensor:
    codes = [torch.randint(0, size, (batch, 1)).float() for size in (7, 4)]
    return torch.cat([torch.randn(batch, 6), *codes], dim=1)


def tokens(batch: int) -> Tensor:
    return torch.randint(0, 9, (batch, 8)).float()


MODULES: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    "perceptron": (lambda: nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)), numbers(64)),
    "single layer": (Inherited, numbers(64)),
    "lstm": (LstmClassifier, numbers(8, 8)),
    "lstm states": (LstmStates, numbers(8, 8)),
    "gru": (GruClassifier, numbers(64)),
    "gru last": (GruLast, numbers(8, 8)),
    "transformer": (TransformerClassifier, numbers(8, 8)),
    "transformer, norm first": (lambda: TransformerClassifier(norm_first=True), numbers(8, 8)),
    "transformer, steps first": (lambda: TransformerClassifier(batch_first=False), numbers(8, 8)),
    "vision transformer": (VisionTransformer, numbers(1, 8, 8)),
    "resnet": (SmallResNet, numbers(1, 8, 8)),
    "attention": (AttentionPair, numbers(8, 8)),
    "tabular": (Tabular, table),
    "tokens": (Tokens, tokens),
    "arithmetic": (Arithmetic, numbers(8)),
    "normalizations": (Normalizations, numbers(1, 8, 8)),
}


def made(name: str, seed: int = 0) -> tuple[nn.Module, Callable[[int], Tensor]]:
    """A module whose weights and running statistics are no defaults, and its inputs."""
    torch.manual_seed(seed)
    make, inputs = MODULES[name]
    module = make()
    for tensor in module.state_dict().values():
        if tensor.is_floating_point() and name != "arithmetic":
            tensor.add_(torch.rand_like(tensor) * 0.3)
    return module, inputs


def served(captured: CapturedModule, features: int) -> ManageableModel:
    """The network that the server builds of a captured graph, through the contract, with the captured weights."""
    message = specification_pb2.ModelSpecification(torch_graph=captured.graph)
    specification = model_specification(specification_pb2.ModelSpecification.FromString(message.SerializeToString()))
    layout = FeatureLayout(dense=features)
    size = check_shapes(specification, layout)
    check_weights(specification, captured.weights)
    model = build_model(ModelConfig(specification=specification, layout=layout, outputs=size.output_count))
    load_initial_weights(model, captured.weights)
    return model


def differing(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    return [name for name in before if not torch.equal(before[name], after[name])]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_the_server_computes_what_the_module_computes(name: str, mode: bool) -> None:
    module, inputs = made(name)
    module.train(mode)
    before = copy.deepcopy(module.state_dict())
    modes = [part.training for part in module.modules()]
    captured = capture(module, tuple(inputs(1).shape[1:]))
    assert differing(before, module.state_dict()) == []
    assert [part.training for part in module.modules()] == modes
    assert all(parameter.grad is None for parameter in module.parameters())
    rows = inputs(5)
    model = served(captured, rows[0].numel())
    given = rows.long() if name == "tokens" else rows
    with torch.no_grad():
        expected = module.eval()(given)
        outputs = model.eval()(rows.flatten(1))
    torch.testing.assert_close(outputs, expected.reshape(5, -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_the_captured_network_trains(name: str) -> None:
    module, inputs = made(name)
    rows = inputs(6)
    model = served(capture(module, tuple(rows.shape[1:])), rows[0].numel()).train()
    outputs = model(rows.flatten(1))
    (outputs * torch.randn_like(outputs)).sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []
    learned = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    assert model.parameter_count == learned


@pytest.mark.parametrize("name", ["resnet", "tabular", "arithmetic", "gru last"])
def test_gradients_are_those_of_the_module(name: str) -> None:
    """In evaluation mode, where no chance is in play; the sum over all parameters covers every name."""
    module, inputs = made(name)
    rows = inputs(6)
    model = served(capture(module, tuple(rows.shape[1:])), rows[0].numel()).eval()
    module.eval()
    module(rows).square().sum().backward()
    model(rows.flatten(1)).square().sum().backward()
    total = sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)
    served_total = sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None)
    assert served_total == pytest.approx(total, rel=1e-4)


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...], Message]] = {
    "linear": (nn.Linear(4, 3, bias=False), (4,), pb.Linear(in_features=4, out_features=3, without_bias=True)),
    "convolution": (
        nn.Conv2d(2, 4, (3, 1), (2, 1), (1, 0), (1, 2), groups=2, bias=False),
        (2, 5, 5),
        pb.Convolution(
            in_channels=2,
            out_channels=4,
            kernel_size=[3, 1],
            stride=[2, 1],
            padding=[1, 0],
            dilation=[1, 2],
            groups=2,
            without_bias=True,
        ),
    ),
    "batch norm": (
        nn.BatchNorm1d(4, eps=1e-3, momentum=0.3, affine=False),
        (4,),
        pb.BatchNorm(num_features=4, eps=1e-3, momentum=0.3, without_affine=True),
    ),
    "layer norm": (
        nn.LayerNorm(4, eps=1e-3, elementwise_affine=False),
        (3, 4),
        pb.LayerNorm(normalized_shape=[4], eps=1e-3, without_affine=True),
    ),
    "group norm": (
        nn.GroupNorm(2, 4, eps=1e-3, affine=False),
        (4, 3),
        pb.GroupNorm(num_groups=2, num_channels=4, eps=1e-3, without_affine=True),
    ),
    "dropout": (nn.Dropout(0.3), (4,), pb.Dropout(probability=0.3)),
    "average pooling": (
        nn.AvgPool2d(3, stride=2, padding=1),
        (1, 5, 5),
        pb.Pooling(kind=pb.POOLING_KIND_AVERAGE, kernel_size=[3, 3], stride=[2, 2], padding=[1, 1]),
    ),
    "lstm": (
        nn.LSTM(4, 5, 2, batch_first=True, dropout=0.3, bidirectional=True),
        (3, 4),
        pb.Lstm(input_size=4, hidden_size=5, num_layers=2, bidirectional=True, dropout=0.3),
    ),
    "gru": (
        nn.GRU(4, 5, 2, batch_first=True, dropout=0.3),
        (3, 4),
        pb.Gru(input_size=4, hidden_size=5, num_layers=2, dropout=0.3),
    ),
    "transformer encoder layer": (
        nn.TransformerEncoderLayer(4, 2, 8, dropout=0.3, activation=nn.GELU(), batch_first=True, norm_first=True),
        (3, 4),
        pb.TransformerEncoderLayer(
            d_model=4, num_heads=2, dim_feedforward=8, dropout=0.3, activation=pb.ACTIVATION_KIND_GELU, norm_first=True
        ),
    ),
}


class Flattened(nn.Module):
    """A layer, and the first of its results as a row."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.is_recurrent = isinstance(layer, nn.RNNBase)

    def forward(self, x: Tensor) -> Tensor:
        result = self.layer(x)
        rows: Tensor = result[0] if self.is_recurrent else result
        return rows.flatten(1)


@pytest.mark.parametrize("name", LAYERS)
def test_what_decides_training_is_captured_too(name: str) -> None:
    """Chances and momenta do not show in evaluation mode."""
    layer, shape, expected = LAYERS[name]
    node = capture(Flattened(layer), shape).graph.nodes[0]
    assert getattr(node, str(node.WhichOneof("operation"))) == expected


def test_ids_come_from_the_paths_of_modules() -> None:
    module, _ = made("resnet")
    captured = capture(module, (1, 8, 8))
    ids = [node.id for node in captured.graph.nodes]
    assert {"stem_0", "layers_0_conv1", "layers_1_shortcut_0", "fc"} <= set(ids)
    assert len(ids) == len(set(ids))
    assert captured.weights["stem_0.weight"].shape == (8, 1, 3, 3)
    assert "stem_1.running_mean" in captured.weights


def test_weights_are_copies_in_float32() -> None:
    module = nn.Sequential(nn.Linear(4, 2).double())
    captured = capture(module, (4,))
    assert module[0].weight.dtype is torch.float64
    assert captured.weights["_0.weight"].dtype is torch.float32
    captured.weights["_0.weight"].zero_()
    assert module[0].weight.abs().sum() > 0
