"""What the demo does: with the shipped data sets, or with a table of Kaggle's."""

from __future__ import annotations

import math

import grpc
from flare.scraper.v1 import dataset_pb2, dataset_view_pb2

from flare_client import Flare, FlareError, block, cnn, mlp
from flare_client.cli.demo.narrator import Narrator
from flare_client.cli.demo.steps import Steps, Trained
from flare_client.names import short
from flare_client.plans import PlanOptions

SMALLEST_IMAGE = 8


def tell_of_samples(flare: Flare, narrator: Narrator, prefix: str) -> list[Trained]:
    """A perceptron on a table, then a CNN and a captured transformer on images."""
    import torch

    from flare_client.cli.demo import networks

    steps = Steps(flare, narrator)
    steps.log_in()
    steps.search("classification", "samples")
    tumours = steps.import_dataset("breast-cancer", f"{prefix}breast-cancer", "samples")
    tumour_view = steps.make_view(tumours, "diagnosis", drop=["mean fractal dimension"], seed=2)
    digits = steps.import_dataset("digits", f"{prefix}digits", "samples")
    digit_view = steps.make_view(digits, "digit", cast={"digit": "categorical"}, seed=3)

    narrator.step("A perceptron learns to tell tumours")
    perceptron = f"{prefix}tumours-mlp"
    narrator.command(
        *("models", "create", perceptron, "--mlp", "32,16", "--dropout", "0.3", "--view", short(tumour_view.name))
    )
    flare.models.create(perceptron, mlp([32, 16], dropout=0.3), view=tumour_view)
    plan: PlanOptions = {"epochs": 30, "batch_size": 32, "optimizer": "adamw", "weight_decay": 0.1}
    trained = [steps.train(perceptron, "mlp", tumour_view, {**plan, "learning_rate": 0.002, "patience": 5, "seed": 1})]
    steps.predict(trained[-1], tumour_view)

    narrator.step("A convolutional network learns to read digits")
    convolutions = f"{prefix}digits-cnn"
    narrator.command(
        *("models", "create", convolutions, "--cnn", "1x8x8", "--block", "16", "--block", "32:pool"),
        *("--head", "64", "--dropout", "0.3", "--view", short(digit_view.name)),
    )
    image_network = cnn((1, 8, 8), [block(16), block(32, pooling="max")], head=[64], head_dropout=0.3)
    flare.models.create(convolutions, image_network, view=digit_view)
    trained.append(steps.train(convolutions, "cnn", digit_view, {"epochs": 8, "learning_rate": 0.003, "seed": 1}))
    steps.predict(trained[-1], digit_view)

    narrator.step("A torch.nn.Module of your own, a transformer encoder over the rows, learns the same")
    captured = f"{prefix}digits-transformer"
    narrator.command(
        *("models", "capture", captured, f"{networks.__file__}:RowReader", "--input-shape", "8,8"),
        *("--view", short(digit_view.name)),
    )
    torch.manual_seed(1)  # its first weights go with it
    flare.models.create_from_module(captured, networks.RowReader(), (8, 8), view=digit_view)
    plan = {"epochs": 15, "optimizer": "adamw", "weight_decay": 0.1, "learning_rate": 0.003, "schedule": "cosine"}
    trained.append(steps.train(captured, "torch_graph", digit_view, {**plan, "seed": 1}))
    steps.predict(trained[-1], digit_view)
    return trained


def tell_of_kaggle(
    flare: Flare, narrator: Narrator, prefix: str, ref: str, file: str, target: str, drop: list[str]
) -> list[Trained]:
    """A perceptron and a captured transformer on the table; a CNN too where its columns are a square image."""
    import torch

    from flare_client.cli.demo import networks

    steps = Steps(flare, narrator)
    steps.log_in()
    dataset = steps.import_dataset(ref, f"{prefix}table", "kaggle", file)
    view = _view_of_table(flare, steps, dataset, target, drop)

    narrator.step("A perceptron learns it")
    perceptron = f"{prefix}table-mlp"
    narrator.command("models", "create", perceptron, "--mlp", "64,32", "--dropout", "0.1", "--view", short(view.name))
    size = flare.models.create(perceptron, mlp([64, 32], dropout=0.1), view=view).size
    trained = [steps.train(perceptron, "mlp", view, {"epochs": 40, "patience": 8, "seed": 1})]
    steps.predict(trained[-1], view)

    side = math.isqrt(size.feature_count)
    inputs = [c for c in view.resolved_columns if c.role == dataset_view_pb2.COLUMN_ROLE_INPUT]
    numeric = (dataset_pb2.COLUMN_TYPE_INTEGER, dataset_pb2.COLUMN_TYPE_FLOAT)
    if side >= SMALLEST_IMAGE and side * side == len(inputs) and all(c.type in numeric for c in inputs):
        narrator.step(f"A convolutional network reads the columns as images of {side} x {side} pixels")
        convolutions = f"{prefix}table-cnn"
        narrator.command(
            "models", "create", convolutions, "--cnn", f"1x{side}x{side}", "--block", "16", "--block", "32:pool"
        )
        flare.models.create(convolutions, cnn((1, side, side), [block(16), block(32, pooling="max")]), view=view)
        trained.append(steps.train(convolutions, "cnn", view, {"epochs": 10, "patience": 4, "seed": 1}))

    narrator.step("A torch.nn.Module of your own, a transformer encoder, learns it")
    captured = f"{prefix}table-transformer"
    torch.manual_seed(1)
    module = networks.TableReader(features=size.feature_count, outputs=size.output_count)
    narrator.command(
        *("models", "capture", captured, f"{networks.__file__}:TableReader", "--input-shape", str(size.feature_count)),
        *("--argument", f"features={size.feature_count}", "--argument", f"outputs={size.output_count}"),
    )
    flare.models.create_from_module(captured, module, (size.feature_count,), view=view)
    trained.append(steps.train(captured, "torch_graph", view, {"epochs": 30, "patience": 6, "seed": 1}))
    steps.predict(trained[-1], view)
    return trained


def _view_of_table(
    flare: Flare, steps: Steps, dataset: str, target: str, drop: list[str]
) -> dataset_view_pb2.DatasetView:
    """The view of a table that nobody has described: texts are left out, classes are spread evenly."""
    columns = {column.name: column for column in flare.datasets.get(dataset).columns}
    if target not in columns:
        message = f"the table has no column {target!r}: take one of {', '.join(columns)}"
        raise FlareError(grpc.StatusCode.INVALID_ARGUMENT, "COLUMN_NOT_FOUND", message)
    texts = [name for name, c in columns.items() if c.type == dataset_pb2.COLUMN_TYPE_TEXT and name != target]
    is_class = columns[target].type in (dataset_pb2.COLUMN_TYPE_CATEGORICAL, dataset_pb2.COLUMN_TYPE_BOOLEAN)
    few_numbers = (
        columns[target].type == dataset_pb2.COLUMN_TYPE_INTEGER and columns[target].statistics.distinct_count <= 20
    )
    return steps.make_view(
        dataset,
        target,
        drop=list(dict.fromkeys([*drop, *texts])),
        cast={target: "categorical"} if few_numbers else None,
        stratify=is_class or few_numbers,
    )
