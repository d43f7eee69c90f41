"""Answers as tensors: names, choice and the best classes."""

import numpy as np
import pytest

from ml_server.prediction.answers import Classification, Regression
from ml_server.prediction.output_tensors import RequestedOutput, output_tensors, require_outputs
from ml_server.prediction.signature import output_names, outputs
from servicekit.errors import InvalidArgument, Reason
from tests.made_versions import mixed_version

KIND = Classification("kind", ("a", "b", "c"), np.array([2, 0]), np.array([[0.25, 0.25, 0.5], [0.75, 0.125, 0.125]]))
PRICE = Regression("price", np.array([1.5, 2.5]))


def test_every_output_comes_if_none_is_named_and_only_those_named_else() -> None:
    assert [each.name for each in output_tensors([KIND, PRICE], [])] == ["kind", "kind_probabilities", "price"]
    chosen = output_tensors([KIND, PRICE], [RequestedOutput("price"), RequestedOutput("kind")])
    assert [(each.name, each.shape) for each in chosen] == [("price", (2, 1)), ("kind", (2, 1))]
    assert list(chosen[1].values) == [b"c", b"a"]


@pytest.mark.parametrize(("top", "width"), [(1, 1), (2, 2), (9, 3)])
def test_the_best_classes_come_first_and_equal_ones_in_their_order(top: int, width: int) -> None:
    (tensor,) = output_tensors([KIND], [RequestedOutput("kind_probabilities", top)])
    assert tensor.shape == (2, width)
    rows = [["0.500000:2:c", "0.250000:0:a", "0.250000:1:b"], ["0.750000:0:a", "0.125000:1:b", "0.125000:2:c"]]
    assert [bytes(value).decode() for value in tensor.values] == [text for row in rows for text in row[:width]]


def test_an_output_that_is_not_there_is_refused_with_those_that_are() -> None:
    known = output_names(mixed_version().targets)
    with pytest.raises(InvalidArgument, match="no output 'x': ask for 'species', 'species_prob") as refused:
        require_outputs(known, [RequestedOutput("species"), RequestedOutput("x")])
    assert refused.value.reason is Reason.INVALID_FIELD
    assert [each.field for each in refused.value.violations] == ["outputs[1].name"]
    for name in ("species", "price"):
        with pytest.raises(InvalidArgument, match=f"output '{name}' has no classes"):
            require_outputs(known, [RequestedOutput(name, 1)])
    require_outputs(known, [RequestedOutput("price"), RequestedOutput("species_probabilities", 2)])


def test_probabilities_never_have_the_name_of_a_target() -> None:
    other = Regression("kind_probabilities", np.array([0.0, 1.0]))
    names = [each.name for each in output_tensors([KIND, other], [])]
    assert names == ["kind", "kind_probabilities_", "kind_probabilities"]


def test_the_specification_is_what_comes() -> None:
    targets = mixed_version().targets
    expected = [(each.name, each.datatype, each.shape[1:]) for each in outputs(targets)]
    classes = targets.targets[0].classes
    species = Classification("species", classes, np.array([0]), np.full((1, 3), 1 / 3))
    given = output_tensors([species, Regression("price", np.array([1.0]))], [])
    assert [(each.name, each.datatype, each.shape[1:]) for each in given] == expected
