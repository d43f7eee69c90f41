"""Views, plans and specifications from the words that people use for them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flare.ml.v1 import model_pb2, specification_pb2, torch_graph_pb2, training_job_pb2
from flare.scraper.v1 import dataset_pb2, dataset_view_pb2
from flare_client import FlareError
from flare_client.cli.failures import CommandError
from flare_client.cli.model_arguments import cnn_specification
from flare_client.messages import as_json
from flare_client.names import (
    alias_id,
    alias_name,
    model_name,
    new_model_id,
    numbered_version_name,
    short,
    version_name,
    view_name,
)
from flare_client.plans import LOSSES, OPTIMIZERS, SCHEDULES, PlanOptions, training_plan
from flare_client.view_requests import dataset_view, view_split

ROOT = Path(__file__).parents[3]


def test_a_view_names_only_the_columns_that_differ() -> None:
    view = dataset_view(["y"], drop=["id"], rename={"a": "b"}, cast={"y": "categorical"}, missing={"a": "fill_value=0"})
    assert view.default_role == dataset_view_pb2.COLUMN_ROLE_INPUT
    assert [as_json(column) for column in view.columns] == [
        {"column": "y", "role": "COLUMN_ROLE_TARGET", "cast": "COLUMN_TYPE_CATEGORICAL"},
        {"column": "id", "role": "COLUMN_ROLE_IGNORED"},
        {"column": "a", "rename": "b", "missing": "MISSING_POLICY_FILL_VALUE", "fill_value": "0"},
    ]


def test_named_inputs_leave_the_other_columns_out() -> None:
    view = dataset_view(["y"], inputs=["a"])
    assert view.default_role == dataset_view_pb2.COLUMN_ROLE_IGNORED
    assert [(c.column, c.role) for c in view.columns] == [
        ("y", dataset_view_pb2.COLUMN_ROLE_TARGET),
        ("a", dataset_view_pb2.COLUMN_ROLE_INPUT),
    ]


def test_a_column_has_one_role() -> None:
    for roles in ({"drop": ["y"]}, {"weight": "y"}):
        with pytest.raises(FlareError, match="'y' can have one role only"):
            dataset_view(["y"], **roles)


def test_a_column_of_weights_has_their_role() -> None:
    view = dataset_view(["y"], weight="n")
    assert [(c.column, c.role) for c in view.columns] == [
        ("y", dataset_view_pb2.COLUMN_ROLE_TARGET),
        ("n", dataset_view_pb2.COLUMN_ROLE_WEIGHT),
    ]


def test_a_word_that_is_no_choice_is_refused_with_the_choices() -> None:
    with pytest.raises(FlareError, match="type 'decimal' is not one of integer, float, boolean") as raised:
        dataset_view(["y"], cast={"y": "decimal"})
    assert raised.value.reason == "INVALID_FIELD"


def test_a_split_has_three_shares_and_one_method() -> None:
    split = view_split([0.6, 0.2, 0.2], seed=7, stratify="y")
    assert (split.train_fraction, split.seed, split.stratified.column) == (0.6, 7, "y")
    with pytest.raises(FlareError, match="three shares"):
        view_split([0.5, 0.5])
    with pytest.raises(FlareError, match="one method, not stratify and group"):
        view_split(stratify="y", group="g")


def test_an_empty_plan_leaves_everything_to_the_service() -> None:
    assert training_plan({}) == training_job_pb2.TrainingPlan()


def test_losses_weights_and_limits_are_where_the_contract_wants_them() -> None:
    plan = training_plan(
        {
            "loss": ["huber", "focal"],
            "huber_delta": 0.5,
            "class_weights": {"kind": {"a": 2, "b": 0.5}},
            "schedule": "reduce_on_plateau",
            "plateau_patience": 3,
            "max_duration": 1.5,
            "precision": "bfloat16",
        }
    )
    assert (plan.huber.delta, plan.WhichOneof("classification_loss")) == (0.5, "focal")
    weights = [(each.target, each.class_label, each.weight) for each in plan.class_weights.weights]
    assert weights == [("kind", "a", 2), ("kind", "b", 0.5)]
    assert (plan.reduce_on_plateau.patience, plan.max_duration.ToMilliseconds()) == (3, 1500)
    assert plan.precision == training_job_pb2.PRECISION_BFLOAT16
    assert training_plan({"class_weights": "balanced"}).class_weights.balanced
    assert training_plan({"label_smoothing": 0.1}).cross_entropy.label_smoothing == 0.1


def test_frozen_blocks_and_augmentation_are_numbers_and_names() -> None:
    plan = training_plan({"frozen_blocks": ["blocks.0"], "augmentation": {"crop_padding": 2.0, "brightness": 0.2}})
    assert list(plan.frozen_blocks) == ["blocks.0"]
    assert plan.augmentation == training_job_pb2.ImageAugmentation(crop_padding=2, brightness=0.2)
    with pytest.raises(FlareError, match="augmentation 'flip' is not one of horizontal_flip, vertical_flip, crop"):
        training_plan({"augmentation": {"flip": 0.5}})
    with pytest.raises(FlareError, match=r"crop_padding 1.5 is no whole number of pixels"):
        training_plan({"augmentation": {"crop_padding": 1.5}})


def test_two_losses_for_the_same_targets_are_refused() -> None:
    with pytest.raises(FlareError, match="mse and mae are for the same targets"):
        training_plan({"loss": ["mse", "mae"]})
    with pytest.raises(FlareError, match="neither 'balanced' nor weights by class"):
        training_plan({"class_weights": "equal"})


def test_a_plan_has_its_options_where_the_contract_wants_them() -> None:
    plan = training_plan(
        {
            "epochs": 5,
            "optimizer": "sgd",
            "momentum": 0.9,
            "nesterov": True,
            "schedule": "step",
            "step_epochs": 2,
            "patience": 3,
            "seed": 1,
        }
    )
    assert (plan.epochs, plan.seed, plan.sgd.momentum, plan.sgd.nesterov) == (5, 1, 0.9, True)
    assert (plan.step.epochs, plan.early_stopping.patience) == (2, 3)


@pytest.mark.parametrize("kind", [*OPTIMIZERS, *SCHEDULES, *LOSSES])
def test_every_number_of_the_contract_has_its_option(kind: str) -> None:
    fields = getattr(training_job_pb2.TrainingPlan(), kind).DESCRIPTOR.fields_by_name
    chosen = "optimizer" if kind in OPTIMIZERS else "schedule" if kind in SCHEDULES else "loss"
    reached = set()
    for option in PlanOptions.__annotations__.keys() - {"patience", "min_delta"}:  # which are early stopping's
        try:
            plan = training_plan({chosen: kind, option: 1})  # type: ignore[misc]
        except (FlareError, TypeError, ValueError, AttributeError):
            continue  # of another optimizer, schedule or loss, or no number
        reached |= {field.name for field, _ in getattr(plan, kind).ListFields()}
    assert reached == set(fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "lion"}, "'lion' is not one of adam"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum does not go with the optimizer adam"),
        ({"schedule": "cosine", "step_epochs": 3}, "step_epochs does not go with"),
        ({"epoch": 3}, "no option 'epoch': take one of epochs"),
    ],
)
def test_a_plan_with_an_option_out_of_place_is_refused(options: PlanOptions, message: str) -> None:
    with pytest.raises(FlareError, match=message):
        training_plan(options)


def test_blocks_of_a_cnn_are_written_in_a_word() -> None:
    cnn = cnn_specification("1x8x8", ["16", "32:pool:k5:s2:nonorm"], "64", "gelu", 0.1).cnn
    assert (cnn.image.channels, cnn.image.height, cnn.image.width) == (1, 8, 8)
    second = cnn.blocks[1]
    assert (second.out_channels, second.kernel_size, second.stride) == (32, 5, 2)
    assert second.pooling == torch_graph_pb2.POOLING_KIND_MAX
    assert second.normalization == specification_pb2.NORMALIZATION_UNSPECIFIED
    assert cnn.blocks[0].normalization == specification_pb2.NORMALIZATION_BATCH
    assert list(cnn.head.hidden_units) == [64]
    for wrong in ("32:pol", "x", "16:k"):
        with pytest.raises(CommandError, match="is not CHANNELS"):
            cnn_specification("1x8x8", [wrong], "", "", 0.0)
    with pytest.raises(CommandError, match="CHANNELSxHEIGHTxWIDTH"):
        cnn_specification("8x8", ["16"], "", "", 0.0)


def test_names_may_be_short() -> None:
    assert view_name("iris/main") == view_name("datasets/iris/views/main") == "datasets/iris/views/main"
    assert model_name("iris") == model_name(model_pb2.Model(name="models/iris")) == "models/iris"
    assert version_name("iris") == "models/iris"
    assert version_name("iris@prod") == alias_name("models/iris@prod") == "models/iris@prod"
    assert version_name(model_pb2.ModelVersion(name="models/iris/versions/1")) == "models/iris/versions/1"
    assert numbered_version_name("iris/versions/1") == "models/iris/versions/1"
    assert alias_id("prod-2") == "prod-2"
    assert new_model_id("2-iris") == "2-iris"
    assert short("datasets/iris/views/main") == "iris/main"
    with pytest.raises(FlareError, match="DATASET/VIEW"):
        view_name("iris")


@pytest.mark.parametrize(
    ("read", "name", "remedy"),
    [
        (model_name, "iris/versions/5", "write its id alone, such as iris"),
        (model_name, "Iris", "write its id alone, such as iris"),
        (version_name, "houses@99", "an alias begins with a letter, and version 99 is written houses/versions/99"),
        (version_name, "models/houses/3", "version 3 is written houses/versions/3"),
        (version_name, "houses@Prod", r"iris@prod for that of an alias \(up to 63 small letters, digits and hyphens"),
        (version_name, "houses/versions/0", "or iris/versions/3"),
        (numbered_version_name, "houses@prod", "write it as iris/versions/3"),
        (alias_name, "houses", "write MODEL@ALIAS, such as iris@prod"),
        (new_model_id, "Iris", "take up to 63 small letters, digits and hyphens, a letter or digit first"),
        (alias_id, "Prod", "take up to 63 small letters, digits and hyphens, a letter first, such as prod"),
    ],
)
def test_what_is_no_name_is_told_with_what_to_write(read: Callable[[str], str], name: str, remedy: str) -> None:
    with pytest.raises(FlareError, match=f"^'{name}' .*{remedy}") as wrong:
        read(name)
    assert wrong.value.reason == "INVALID_FIELD"


def test_json_has_the_names_of_the_contract_and_whole_numbers_as_numbers() -> None:
    dataset = dataset_pb2.Dataset(name="datasets/iris", row_count=2**40)
    dataset.create_time.FromSeconds(0)
    dataset.columns.add(name="a", type=dataset_pb2.COLUMN_TYPE_FLOAT)
    assert as_json(dataset) == {
        "name": "datasets/iris",
        "row_count": 2**40,
        "columns": [{"name": "a", "type": "COLUMN_TYPE_FLOAT"}],
        "create_time": "1970-01-01T00:00:00Z",
    }


def test_the_blocking_client_is_made_from_the_asynchronous_one() -> None:
    script = ROOT / "tools" / "make_sync_client.py"
    made = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr


def test_the_client_needs_neither_pandas_nor_torch_until_they_are_used() -> None:
    code = "import sys, flare_client, flare_client.aio; print({'pandas', 'torch', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
