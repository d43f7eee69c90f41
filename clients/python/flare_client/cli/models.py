"""`flare models`: make networks, look at them, take them away."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from flare.ml.v1 import engine_pb2

import flare_client
from flare_client.choices import short_name
from flare_client.cli.aliases import ModelArgument, delete_alias, set_alias
from flare_client.cli.arguments import cell, numbers, pairs
from flare_client.cli.comparison import compare
from flare_client.cli.failures import CommandError
from flare_client.cli.model_arguments import cnn_specification, mlp_specification, specification_of_file
from flare_client.cli.model_display import aliases_of, print_model
from flare_client.cli.module_files import module_from_file
from flare_client.cli.monitoring import drift, shadow
from flare_client.cli.output import Output, OutputFormat, print_fields, print_json, print_table, stderr
from flare_client.cli.reports import print_reports
from flare_client.cli.words import byte_size, moment, quantity
from flare_client.history import metrics_by_name
from flare_client.names import short
from flare_client.specifications import architecture_of

app = typer.Typer(name="models", help="Make networks, look at them, take them away.", no_args_is_help=True)

VersionArgument = Annotated[str, typer.Argument(metavar="MODEL", help="iris, iris@prod, or models/iris/versions/3")]
NewModel = Annotated[str, typer.Argument(metavar="NAME", help="id of the new model")]
View = Annotated[str | None, typer.Option(metavar="DATASET/VIEW", help="check its shapes against this view now")]

app.command()(compare)
app.command("set-alias")(set_alias)
app.command("delete-alias")(delete_alias)
app.command()(drift)
app.command()(shadow)


class Part(StrEnum):
    """Rows that training measures."""

    TEST = "test"
    VALIDATION = "validation"


@app.command()
def create(
    name: NewModel,
    mlp: Annotated[str | None, typer.Option(metavar="SIZES", help="perceptron with hidden layers: 64,32")] = None,
    cnn: Annotated[
        str | None,
        typer.Option(
            metavar="CxHxW", help="convolutions over channels x height x width, 1x8x8, or `image` for the view's images"
        ),
    ] = None,
    block: Annotated[
        list[str] | None,
        typer.Option(metavar="CHANNELS[:OPTION]", help="block of a CNN: 16, 32:pool, 32:avgpool, 32:k5:s2, 32:nonorm"),
    ] = None,
    head: Annotated[str, typer.Option(metavar="SIZES", help="hidden layers after the blocks of a CNN: 64")] = "",
    spec: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="any ModelSpecification, in the JSON form of its contract")
    ] = None,
    activation: Annotated[str, typer.Option(help="relu unless given")] = "",
    dropout: Annotated[float, typer.Option(min=0, max=0.99, help="after each hidden layer")] = 0.0,
    normalization: Annotated[str, typer.Option(help="of the layers of a perceptron: batch or layer")] = "",
    view: View = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Make a model: a perceptron, a convolutional network, or any specification."""
    if [mlp, cnn, spec].count(None) != 2:
        raise CommandError("a model is one of --mlp SIZES, --cnn CxHxW and --spec FILE.json")
    if mlp is not None:
        specification = mlp_specification(mlp, activation, dropout, normalization)
    elif cnn is not None:
        specification = cnn_specification(cnn, block or (), head, activation, dropout)
    else:
        assert spec is not None
        specification = specification_of_file(spec)
    with flare_client.connect() as flare:
        print_model(flare.models.create(name, specification, view=view), output)


@app.command()
def capture(
    name: NewModel,
    module: Annotated[str, typer.Argument(metavar="FILE.py:CLASS", help="torch.nn.Module in a file of your own")],
    input_shape: Annotated[str, typer.Option(metavar="SIZES", help="shape of one row's input, without batch: 8,8")],
    argument: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="argument that makes it; several times for several")
    ] = None,
    view: View = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Make a model of your own torch.nn.Module, with its weights. Its code stays here."""
    arguments = {key: cell(value) for key, value in pairs("--argument", argument or ()).items()}
    shape = numbers("--input-shape", input_shape, int)
    made = module_from_file(module, arguments)
    with flare_client.connect() as flare:
        print_model(flare.models.create_from_module(name, made, shape, view=view), output)


@app.command("list")
def list_(output: Output = OutputFormat.TEXT) -> None:
    """List models, newest first."""
    with flare_client.connect() as flare:
        models = flare.models.list()
    if output is OutputFormat.JSON:
        print_json(models)
        return
    print_table(
        ["MODEL", "MADE OF", ">VERSIONS", "ALIASES", "MADE"],
        (
            (
                short(model.name),
                architecture_of(model.specification),
                model.latest_version or "none",
                aliases_of(model),
                moment(model.create_time),
            )
            for model in models
        ),
        empty="No models yet: `flare models create NAME --mlp 64,32`.",
    )


@app.command()
def describe(model: ModelArgument, output: Output = OutputFormat.TEXT) -> None:
    """Show a model and its versions."""
    with flare_client.connect() as flare:
        found, versions = flare.models.get(model), flare.models.versions(model)
    if output is OutputFormat.JSON:
        print_json({"model": found, "versions": versions})
        return
    print_model(found, output)
    print_table(
        ["VERSION", ">PARAMETERS", ">SIZE", "ON THE TEST ROWS", "ENGINE", "VIEW", "STARTED FROM", "MADE"],
        (
            (
                version.name.rpartition("/")[2],
                f"{version.parameter_count:,}",
                byte_size(version.size_bytes),
                ", ".join(f"{key} {quantity(value)}" for key, value in metrics_by_name(version.test_metrics).items()),
                _engine(version.engine),
                short(version.view) if version.view else "",
                short(version.base_version) if version.base_version else "",
                moment(version.create_time),
            )
            for version in versions
        ),
        empty=f"No versions yet: `flare train {short(found.name)} DATASET/VIEW`.",
    )


@app.command()
def report(
    version: VersionArgument,
    part: Annotated[Part, typer.Option(help="rows that were measured")] = Part.TEST,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show a version's metrics, how each class does, and what it was taken for."""
    with flare_client.connect() as flare:
        found = flare.models.version(version)
    metrics, reports = (
        (found.test_metrics, found.test_reports)
        if part is Part.TEST
        else (found.validation_metrics, found.validation_reports)
    )
    if output is OutputFormat.JSON:
        print_json({"version": found.name, "metrics": list(metrics), "reports": list(reports)})
        return
    figures = [(name, quantity(value)) for name, value in metrics_by_name(metrics).items()]
    print_fields([("version", found.name), ("rows of", part), *figures])
    print_reports(reports)


@app.command()
def export(
    model: VersionArgument,
    to: Annotated[Path | None, typer.Option(metavar="PATH", help="file or folder; here if left out")] = None,
    format_: Annotated[str, typer.Option("--format", help="bundle, safetensors or onnx")] = "bundle",
    force: Annotated[bool, typer.Option("--force", help="replace a file that is there")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Write a version to a file."""
    with flare_client.connect() as flare:
        try:
            path = flare.models.export(model, to, format=format_, overwrite=force)
        except FileExistsError as error:
            raise CommandError(f"{error.filename} is there already: --force replaces it") from error
    size = path.stat().st_size
    if output is OutputFormat.JSON:
        print_json({"path": str(path), "size_bytes": size})
    else:
        print_fields([("file", path), ("size", byte_size(size))])


@app.command("import")
def import_(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="such as iris; made if it is not there")],
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="bundle that `flare models export` wrote")],
    output: Output = OutputFormat.TEXT,
) -> None:
    """Make a bundle the next version of a model."""
    with flare_client.connect() as flare:
        version = flare.models.import_(model, file)
    if output is OutputFormat.JSON:
        print_json(version)
        return
    signature = version.signature
    print_fields(
        [
            ("version", version.name),
            ("takes", ", ".join(column.name for column in signature.inputs)),
            ("predicts", ", ".join(target.name for target in signature.targets)),
        ]
    )


@app.command()
def delete(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="iris, or one version alone: iris/versions/3")],
    output: Output = OutputFormat.TEXT,
) -> None:
    """Delete a model with its versions, or one of them."""
    with flare_client.connect() as flare:
        if "/versions/" in model:
            flare.models.delete_version(model)
        else:
            flare.models.delete(model)
    if output is OutputFormat.JSON:
        print_json({})
    else:
        stderr().print(f"Deleted {model}.")


def _engine(serving: engine_pb2.ServingEngine) -> str:
    """The engine with what it takes for a row and for 32; empty of a version from before engines were chosen."""
    name = short_name(engine_pb2.Engine, serving.engine)
    for each in serving.measurements:
        if each.engine == serving.engine:
            return f"{name}: {each.single_row_microseconds:.3g} us, {each.batch_microseconds:.3g} us for 32 rows"
    return name
