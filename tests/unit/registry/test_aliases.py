"""Who answers for an alias that versions share: by weight, always the same one for an id; few move with a weight."""

from collections import Counter

import pytest

from ml_server.registry.aliases import Alias, Share
from servicekit.errors import InvalidArgument

IDS = [f"customer-{number}" for number in range(20_000)]


def shared(*weights: int) -> Alias:
    """Versions 1, 2, ... by their weights."""
    return Alias.checked(1, [Share(number, weight) for number, weight in enumerate(weights, 1)])


def answers(alias: Alias, name: str = "models/iris@prod") -> list[int]:
    return [alias.answering(name, each) for each in IDS]


@pytest.mark.parametrize("weights", [(90, 10), (1, 1), (5, 3, 2)])
def test_each_version_answers_its_share_of_ids(weights: tuple[int, ...]) -> None:
    counted = Counter(answers(shared(*weights)))
    for number, weight in enumerate(weights, 1):
        expected = weight / sum(weights)
        # Five standard deviations of a share of so many ids.
        tolerance = 5 * (expected * (1 - expected) / len(IDS)) ** 0.5
        assert counted[number] / len(IDS) == pytest.approx(expected, abs=tolerance)


def test_without_an_id_each_version_answers_its_share_of_requests() -> None:
    alias = shared(90, 10)
    counted = Counter(alias.answering("models/iris@prod", "") for _ in range(20_000))
    assert counted[2] / 20_000 == pytest.approx(0.1, abs=0.012)  # more than five standard deviations


def test_the_same_id_gets_the_same_version_in_any_process() -> None:
    # Known by computing them once: a hash that changes would move everybody's customers.
    assert [shared(1, 1).answering("models/iris@prod", f"customer-{number}") for number in range(8)] == [
        *(1, 2, 1, 1, 2, 2, 2, 1)
    ]


def test_a_weight_that_grows_takes_ids_and_moves_no_other() -> None:
    before, after = answers(shared(50, 40, 10)), answers(shared(50, 40, 30))
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert {new for _, new in moved} == {3}
    # From 10 of 100 to 30 of 120: 15 % of all, and not one more.
    assert len(moved) / len(IDS) == pytest.approx(0.15, abs=0.013)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({1: 80, 2: 20}, {1: 80, 2: 10, 3: 10}),
        ({1: 80, 2: 20}, {1: 20, 2: 80}),
        ({1: 50, 2: 30, 3: 20}, {1: 20, 2: 30, 3: 50}),
        ({1: 1, 2: 1, 3: 1, 4: 1}, {1: 1, 2: 2, 3: 3, 4: 4}),
    ],
)
def test_of_several_weights_that_change_together_ids_move_as_few_as_can_be_promised(
    before: dict[int, int], after: dict[int, int]
) -> None:
    def share(weights: dict[int, int], number: int) -> float:
        return weights.get(number, 0) / sum(weights.values())

    # The probability that an id stays (Moulton and Jiang, 2018, their J_P).
    stays = sum(
        1 / sum(max(share(weights, j) / share(weights, i) for weights in (before, after)) for j in before | after)
        for i in before.keys() & after.keys()
    )
    distance = sum(abs(share(before, each) - share(after, each)) for each in before | after) / 2
    old, new = (
        answers(Alias.checked(1, [Share(number, weight) for number, weight in weights.items()]))
        for weights in (before, after)
    )
    moved = sum(a != b for a, b in zip(old, new, strict=True)) / len(IDS)
    assert moved == pytest.approx(1 - stays, abs=0.018)  # five standard deviations
    assert distance <= moved + 0.018
    assert moved <= 2 * distance / (1 + distance) + 0.018


def test_the_order_of_shares_means_nothing_to_an_id() -> None:
    shares = [Share(1, 3), Share(2, 5), Share(3, 2)]
    assert answers(Alias.checked(1, shares)) == answers(Alias.checked(3, shares[::-1]))


def test_ids_fall_differently_for_another_alias() -> None:
    alias = shared(1, 1)
    agreeing = sum(a == b for a, b in zip(answers(alias), answers(alias, "models/iris@beta"), strict=True))
    assert agreeing / len(IDS) == pytest.approx(0.5, abs=0.02)


def test_the_named_version_comes_first_and_an_alias_needs_all_it_names() -> None:
    alias = Alias.checked(3, [Share(2, 90), Share(3, 10)], shadow=5)
    assert alias.shares == (Share(3, 10), Share(2, 90))
    assert alias.versions == (3, 2, 5)
    assert Alias.checked(4).versions == (4,)
    assert Alias.checked(4).answering("models/iris@prod", "anybody") == 4


@pytest.mark.parametrize(
    ("before", "wanted", "shadow"),
    [
        (Alias(1, shadow=3), Alias(2), 3),
        (Alias(1, shadow=3), Alias(1, (Share(1, 1), Share(2, 1))), 3),
        (Alias(1, shadow=3), Alias(3), 0),
        (Alias(1, shadow=3), Alias(1, (Share(1, 1), Share(3, 1))), 0),
        (Alias(1, shadow=3), Alias(1, shadow=4), 4),
        (Alias(1), Alias(2), 0),
        (None, Alias(2), 0),
    ],
)
def test_a_shadow_is_kept_until_it_answers_itself(before: Alias | None, wanted: Alias, shadow: int) -> None:
    kept = wanted.keeping_shadow(before)
    assert (kept.version, kept.shares, kept.shadow) == (wanted.version, wanted.shares, shadow)


@pytest.mark.parametrize(
    ("version", "shares", "shadow", "field", "text"),
    [
        (1, [Share(1, 1), Share(2, 1), Share(2, 3)], 0, "shares[2].version", "version 2 has two shares: give it one"),
        (3, [Share(1, 1), Share(2, 1)], 0, "version", "version 3 has no share"),
        (1, [], 1, "shadow_version", "answers already"),
        (1, [Share(1, 1), Share(2, 1)], 2, "shadow_version", "answers already"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    version: int, shares: list[Share], shadow: int, field: str, text: str
) -> None:
    with pytest.raises(InvalidArgument, match=text) as refused:
        Alias.checked(version, shares, shadow)
    assert [violation.field for violation in refused.value.violations] == [field]
