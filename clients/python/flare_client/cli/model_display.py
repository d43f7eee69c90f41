"""How models are shown."""

from __future__ import annotations

from flare.ml.v1 import model_pb2

from flare_client.cli.output import OutputFormat, print_fields, print_json
from flare_client.specifications import architecture_of


def aliases_of(model: model_pb2.Model) -> str:
    """`prod=3 (90%) + 4 (10%), shadow 5`."""
    return ", ".join(f"{alias.alias}={_meaning(alias)}" for alias in model.aliases)


def _meaning(alias: model_pb2.ModelAlias) -> str:
    total = sum(share.weight for share in alias.shares)
    shares = [f"{share.version} ({share.weight / total:.0%})" for share in alias.shares]
    shadow = f", shadow {alias.shadow_version}" if alias.shadow_version else ""
    return (" + ".join(shares) or str(alias.version)) + shadow


def print_model(model: model_pb2.Model, output: OutputFormat) -> None:
    """Prints all that is known of a model without its versions."""
    if output is OutputFormat.JSON:
        print_json(model)
        return
    size = model.size if model.HasField("size") else None
    print_fields(
        [
            ("model", model.name),
            ("title", model.display_name),
            ("made of", architecture_of(model.specification)),
            ("parameters", f"{size.parameter_count:,}" if size else ""),
            ("features", f"{size.feature_count:,}" if size else ""),
            ("outputs", f"{size.output_count:,}" if size else ""),
            ("starts from", "uploaded weights" if model.has_initial_weights else ""),
            ("aliases", aliases_of(model)),
        ]
    )
