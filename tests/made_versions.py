"""Versions that nobody trained: fresh networks over made columns, for tests of what goes in and what comes out."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from ml_server.features.columns import Column, ColumnType, NumberColumn, arrow_column
from ml_server.features.fit import InputColumn, fit
from ml_server.features.targets import TargetColumn, fit_targets
from ml_server.networks.kinds import PoolingKind
from ml_server.networks.manageable_model import ModelConfig, build_model
from ml_server.networks.specification import (
    CnnSpecification,
    ConvolutionBlock,
    MlpSpecification,
    ModelSpecification,
    Preprocessing,
)
from ml_server.networks.specification import ImageShape as NetworkImage
from ml_server.registry.bundle import Bundle, weights_digest, write_bundle, zip_bundle
from ml_server.registry.values import VersionDetails
from servicekit.images.shape import ImageMode, ImageShape
from tests.summarized import summarized

PIXELS = ImageShape(4, 5, ImageMode.RGB)
GRAY = ImageShape(4, 5, ImageMode.GRAYSCALE)
CITIES = [f"city {number}" for number in range(20)]  # so many become learned vectors


def texts(values: list[str]) -> Column:
    """A column of categories."""
    return arrow_column(pa.chunked_array([values]), ColumnType.CATEGORICAL)


def mixed_version(hidden_units: tuple[int, ...] = (8,)) -> Bundle:
    """A column of each type but images, an embedding among them; a class with three labels and a price."""
    rows = len(CITIES)
    numbers = np.arange(rows, dtype=np.float64)
    columns: dict[str, Column] = {
        "age": NumberColumn(numbers * 2.5),
        "count": NumberColumn(numbers),
        "flag": NumberColumn(numbers % 2),
        "day": NumberColumn(numbers * 86_400_000_000),
        "kind": texts([("a", "b", "0.1")[row % 3] for row in range(rows)]),
        "city": texts(CITIES),
        "species": texts([("setosa", "virginica", "versicolor")[row % 3] for row in range(rows)]),
        "price": NumberColumn(1000 + numbers * 7),
    }
    inputs = [
        InputColumn("age", ColumnType.FLOAT, fill="3"),
        InputColumn("count", ColumnType.INTEGER),
        InputColumn("flag", ColumnType.BOOLEAN, category_count=2),
        InputColumn("day", ColumnType.DATETIME),
        InputColumn("kind", ColumnType.CATEGORICAL, keeps_missing=True, category_count=3),
        InputColumn("city", ColumnType.CATEGORICAL, keeps_missing=True, category_count=rows),
    ]
    targets = [TargetColumn("species", ColumnType.CATEGORICAL, 3), TargetColumn("price", ColumnType.FLOAT)]
    return made_version(
        inputs, targets, columns, ModelSpecification(architecture=MlpSpecification(hidden_units=hidden_units))
    )


def image_version(shape: ImageShape = PIXELS) -> Bundle:
    """A small CNN over one column of images, for two classes."""
    images = np.random.default_rng(0).integers(0, 256, (6, shape.size_bytes), dtype=np.uint8)
    flat = pa.chunked_array([pa.array([image.tobytes() for image in images], pa.binary(shape.size_bytes))])
    columns = {"image": arrow_column(flat, ColumnType.IMAGE), "label": texts(["cat", "dog"] * 3)}
    architecture = CnnSpecification(blocks=(ConvolutionBlock(out_channels=3),))
    return made_version(
        [InputColumn("image", ColumnType.IMAGE, image=shape)],
        [TargetColumn("label", ColumnType.CATEGORICAL, 2)],
        columns,
        ModelSpecification(architecture=architecture),
    )


def numbers_version(columns: int, hidden_units: tuple[int, ...]) -> Bundle:
    """A perceptron over so many columns of numbers, `x0` and on, for two classes."""
    made = np.random.default_rng(0).standard_normal((8, columns))
    table: dict[str, Column] = {f"x{at}": NumberColumn(made[:, at]) for at in range(columns)}
    table["y"] = texts(["no", "yes"] * 4)
    architecture = MlpSpecification(hidden_units=hidden_units)
    return made_version(
        [InputColumn(f"x{at}", ColumnType.FLOAT) for at in range(columns)],
        [TargetColumn("y", ColumnType.CATEGORICAL, 2)],
        table,
        ModelSpecification(architecture=architecture),
    )


def pixels_version(channels: tuple[int, ...]) -> Bundle:
    """A CNN over 784 columns of numbers that are the pixels of an image 1x28x28, for ten classes."""
    image = NetworkImage(channels=1, height=28, width=28)
    made = np.random.default_rng(0).random((20, image.size))
    table: dict[str, Column] = {f"x{at}": NumberColumn(made[:, at]) for at in range(image.size)}
    table["y"] = texts([str(row % 10) for row in range(20)])
    blocks = tuple(ConvolutionBlock(out_channels=each, pooling=PoolingKind.MAX) for each in channels)
    architecture = CnnSpecification(image=image, blocks=blocks, global_average_pooling=True)
    return made_version(
        [InputColumn(f"x{at}", ColumnType.FLOAT) for at in range(image.size)],
        [TargetColumn("y", ColumnType.CATEGORICAL, 10)],
        table,
        ModelSpecification(architecture=architecture),
    )


def made_version(
    inputs: list[InputColumn], targets: list[TargetColumn], columns: dict[str, Column], made: ModelSpecification
) -> Bundle:
    """A fresh network over columns, with preprocessing that is fitted on them."""
    train = summarized(inputs, columns, targets)
    features, fitted = fit(inputs, Preprocessing(), train), fit_targets(targets, train)
    model = build_model(ModelConfig(specification=made, layout=features.layout, outputs=fitted.outputs)).eval()
    details = VersionDetails(parameter_count=model.parameter_count, digest=weights_digest(model))
    return Bundle(model, features, fitted, details)


def bundle_file(bundle: Bundle, folder: Path) -> Path:
    """The version as one file that can be imported."""
    write_bundle(folder / "bundle", bundle)
    zip_bundle(folder / "bundle", folder / "bundle.zip")
    return folder / "bundle.zip"
