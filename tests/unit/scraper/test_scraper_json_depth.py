"""The depth of JSON is seen before a parser meets it, whatever its strings hold and wherever it is cut."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper_server.tables.json_depth import MOST_LEVELS, ShallowJson, TooDeep

WORDS = st.text(alphabet='[]{}"\\a', max_size=8)
VALUES = st.recursive(WORDS | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner))


def read(content: bytes, size: int) -> bytes:
    file = ShallowJson(io.BytesIO(content))
    whole = b""
    while chunk := file.read(size):
        whole += chunk
    return whole


@given(VALUES, st.integers(1, 20))
def test_json_is_let_through_up_to_the_deepest_level_and_not_beyond(value: object, size: int) -> None:
    before = json.dumps([value] * 3).encode()[:-1]
    fitting = before + b"," + b"[" * (MOST_LEVELS - 1) + b"]" * (MOST_LEVELS - 1) + b"]"
    assert read(fitting, size) == fitting
    with pytest.raises(TooDeep):
        read(before + b"," + b"[" * MOST_LEVELS + b"]" * MOST_LEVELS + b"]", size)
