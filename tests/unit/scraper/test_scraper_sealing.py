"""Sealed secrets open for whom they belong to, under any key that the server still has, and otherwise not at all."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper_server.credentials.sealing import Sealer, Unsealable, new_key, read_keys

OLD, NEW = (b"1" * 32, b"2" * 32)


@given(secret=st.binary(max_size=200), belongs_to=st.binary(max_size=50))
def test_what_was_sealed_is_opened(secret: bytes, belongs_to: bytes) -> None:
    sealed = Sealer([OLD]).seal(secret, belongs_to)
    assert Sealer([OLD]).open(sealed, belongs_to) == secret
    assert Sealer([NEW, OLD]).open(sealed, belongs_to) == secret


@given(change=st.integers(0, 8 * 60 - 1), cut=st.integers(0, 60))
def test_a_changed_or_cut_secret_does_not_open(change: int, cut: int) -> None:
    sealer = Sealer([OLD])
    sealed = sealer.seal(b"x" * 27, b"ann")
    assert len(sealed) == 60
    changed = bytearray(sealed)
    changed[change // 8] ^= 1 << (change % 8)
    for broken in (bytes(changed), sealed[:cut] if cut < 60 else sealed + b"."):
        with pytest.raises(Unsealable):
            sealer.open(broken, b"ann")


def test_a_secret_opens_only_with_what_it_belongs_to_and_a_key_that_is_there() -> None:
    sealed = Sealer([OLD]).seal(b"secret", b"ann")
    for sealer, belongs_to in ((Sealer([OLD]), b"bob"), (Sealer([NEW]), b"ann")):
        with pytest.raises(Unsealable):
            sealer.open(sealed, belongs_to)


def test_the_first_key_seals_and_nothing_is_sealed_alike_twice() -> None:
    both = Sealer([NEW, OLD])
    sealed = both.seal(b"secret", b"ann")
    assert Sealer([NEW]).open(sealed, b"ann") == b"secret"
    assert both.is_newest(sealed)
    assert not both.is_newest(Sealer([OLD]).seal(b"secret", b"ann"))
    assert sealed != both.seal(b"secret", b"ann")


def test_keys_are_read_from_a_setting_or_the_lines_of_a_file() -> None:
    one, two = base64.b64encode(b"\xff" * 32).decode(), new_key()
    assert read_keys("") == read_keys(" ,\n") == ()
    assert read_keys(f"{one},{two}") == read_keys(f"{one}\n{two}\n") == (b"\xff" * 32, base64.b64decode(two))
    assert read_keys(one.replace("/", "_")) == (b"\xff" * 32,)


@pytest.mark.parametrize("wrong", ["c2VjcmV0", "secret key!", "é", base64.b64encode(b"s" * 33).decode()])
def test_a_wrong_key_is_told_by_its_place_and_not_shown(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"key 2 of 2 is not 32 bytes in base64: `openssl rand -base64 32`") as caught:
        read_keys(f"{new_key()},{wrong}")
    assert wrong not in str(caught.value)
    assert caught.value.__suppress_context__
