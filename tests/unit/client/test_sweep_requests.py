"""Sweeps from the words that people use for them."""

import pytest
from flare.ml.v1 import sweep_pb2 as pb
from flare_client import FlareError, between
from flare_client.cli.arguments import space_of
from flare_client.cli.failures import CommandError
from flare_client.sweep_requests import PRUNERS, SAMPLERS, Options, Space, parameter_messages, set_options


def test_ranges_take_the_type_of_the_field() -> None:
    space: Space = {
        "learning_rate": between(1, 10, log=True),
        "batch_size": between(16, 64, step=16),
        "optimizer.sgd.momentum": between(0, 0.9),
        "early_stopping.patience": between(2.0, 8),
        "optimizer": ["adam", "sgd"],
        "class_weights.balanced": [True, False],
        "warmup_steps": [0, 10],
        "no_such_field": between(0, 1),
    }
    by_path = {message.path: message for message in parameter_messages(space)}
    assert list(by_path) == list(space)
    assert by_path["learning_rate"].float_range == pb.FloatRange(min=1, max=10, log=True)
    assert by_path["batch_size"].integer_range == pb.IntegerRange(min=16, max=64, step=16)
    assert by_path["optimizer.sgd.momentum"].float_range == pb.FloatRange(min=0, max=0.9)
    assert by_path["early_stopping.patience"].integer_range == pb.IntegerRange(min=2, max=8)
    assert [value.string_value for value in by_path["optimizer"].choices.values] == ["adam", "sgd"]
    assert [value.bool_value for value in by_path["class_weights.balanced"].choices.values] == [True, False]
    assert [value.integer_value for value in by_path["warmup_steps"].choices.values] == [0, 10]
    assert by_path["no_such_field"].WhichOneof("values") == "float_range"  # the service says what is wrong with it


def test_a_range_of_integers_has_integers_for_bounds() -> None:
    with pytest.raises(FlareError, match=r"batch_size holds integers, not 0.5 to 8"):
        parameter_messages({"batch_size": between(0.5, 8)})
    with pytest.raises(FlareError, match="nothing to try"):
        parameter_messages({})


def test_samplers_and_pruners_are_named_with_options_or_without() -> None:
    sweep = pb.Sweep()
    set_options(sweep, "sampler", "random", SAMPLERS)
    set_options(sweep, "pruner", {"median": {"startup_trials": 3}}, PRUNERS)
    assert (sweep.WhichOneof("sampler"), sweep.median.startup_trials) == ("random", 3)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("mean", "pruner 'mean' is not one of no_pruner, median"),
        ({"median": {"epochs": 3}}, "pruner median has no option 'epochs': it has startup_trials, warmup_epochs"),
        ({"median": {}, "hyperband": {}}, "pruner is one of no_pruner"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(options: Options, problem: str) -> None:
    with pytest.raises(FlareError, match=problem):
        set_options(pb.Sweep(), "pruner", options, PRUNERS)


def test_the_command_writes_ranges_with_two_dots_and_choices_with_commas() -> None:
    assert space_of(["learning_rate=1e-4..0.1:log", "epochs=10..50:5", "optimizer.sgd.momentum=0..0.95"]) == {
        "learning_rate": between(1e-4, 0.1, log=True),
        "epochs": between(10, 50, step=5),
        "optimizer.sgd.momentum": between(0, 0.95),
    }
    assert space_of(["optimizer=adam,sgd", "batch_size=16, 32", "class_weights.balanced=true,false"]) == {
        "optimizer": ["adam", "sgd"],
        "batch_size": [16, 32],
        "class_weights.balanced": [True, False],
    }


@pytest.mark.parametrize("text", ["learning_rate", "learning_rate=1..b", "epochs=1..2..3,4", "optimizer=adam,,sgd"])
def test_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match=r"--parameter"):
        space_of([text])
