"""How versions are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_server.registry.values import VersionReference

IDS = st.from_regex("[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
ALIASES = st.from_regex("[a-z][a-z0-9-]{0,62}", fullmatch=True)


@given(model=IDS, number=st.integers(1, 10**18 - 1), alias=ALIASES)
def test_every_form_is_read_back(model: str, number: int, alias: str) -> None:
    assert VersionReference.parse(f"models/{model}") == VersionReference(model)
    assert VersionReference.parse(f"models/{model}/versions/{number}") == VersionReference(model, number=number)
    assert VersionReference.parse(f"models/{model}@{alias}") == VersionReference(model, alias=alias)


@pytest.mark.parametrize(
    "name", ["", "iris", "models/", "models/iris/versions/", "models/iris/versions/x", "models/a@"]
)
def test_what_names_no_version_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="names no version"):
        VersionReference.parse(name)
