"""Signing keys: replaced with overlap, shared by servers, unreadable without the key file."""

from datetime import timedelta

import jwt
import pytest

from auth_server.tokens.key_ring import KeyRing
from auth_server.tokens.memory import MemorySigningKeyStore
from auth_server.tokens.signing_keys import KeyFileError, KeySealer
from tests.unit.auth.conftest import Clock

KEY_FILE = KeySealer.new_key()


def key_ring(store: MemorySigningKeyStore, clock: Clock, key_file: str = KEY_FILE) -> KeyRing:
    return KeyRing(
        store,
        KeySealer(key_file),
        overlap=timedelta(seconds=1200),
        longest_use=timedelta(days=90),
        now=clock,
    )


async def test_first_start_makes_a_key_and_the_next_keeps_it(clock: Clock) -> None:
    store = MemorySigningKeyStore()
    first, second = key_ring(store, clock), key_ring(store, clock)
    await first.start()
    await second.start()
    assert first.current().kid == second.current().kid
    assert len(second.published()) == 1


async def test_replaced_key_stays_published_until_its_last_token_has_ended(clock: Clock) -> None:
    ring = key_ring(MemorySigningKeyStore(), clock)
    await ring.start()
    old = ring.current().kid
    new = await ring.rotate()
    assert [key.kid for key in ring.published()] == [new, old]
    assert ring.current().kid == new
    clock.advance(1199)
    assert ring.find(old) is not None
    clock.advance(1)
    assert ring.find(old) is None
    assert [key.kid for key in ring.published()] == [new]


async def test_withdrawn_key_is_forgotten(clock: Clock) -> None:
    store = MemorySigningKeyStore()
    ring = key_ring(store, clock)
    await ring.start()
    await ring.rotate()
    clock.advance(1200)
    await ring.refresh()
    assert [key.kid for key in await store.list()] == [ring.current().kid]


async def test_old_key_is_replaced_by_itself(clock: Clock) -> None:
    ring = key_ring(MemorySigningKeyStore(), clock)
    await ring.start()
    first = ring.current().kid
    clock.advance(89 * 86_400)
    await ring.refresh()
    assert ring.current().kid == first
    clock.advance(86_400)
    await ring.refresh()
    assert ring.current().kid != first
    assert ring.find(first) is not None


async def test_servers_learn_each_others_keys(clock: Clock) -> None:
    store = MemorySigningKeyStore()
    first, second = key_ring(store, clock), key_ring(store, clock)
    await first.start()
    await second.start()
    new = await first.rotate()
    assert second.find(new) is None
    assert await second.look_for(new) is not None
    assert second.current().kid == new
    newest = await second.rotate()
    assert await first.look_for(newest) is not None
    assert [key.kid for key in first.published()] == [key.kid for key in second.published()]


async def test_server_that_rotates_late_still_makes_a_key(clock: Clock) -> None:
    store = MemorySigningKeyStore()
    first, second = key_ring(store, clock), key_ring(store, clock)
    await first.start()
    await second.start()
    seen = await first.rotate()
    assert await second.rotate() not in (seen, None)
    assert len(second.published()) == 3


async def test_private_keys_are_not_kept_in_the_clear(clock: Clock) -> None:
    store = MemorySigningKeyStore()
    ring = key_ring(store, clock)
    await ring.start()
    [stored] = await store.list()
    assert ring.current().private_key.private_bytes_raw().hex() not in stored.sealed_private_key
    assert KeySealer(KEY_FILE).open(stored).public == ring.current().public


async def test_another_key_file_is_named_as_the_cause(clock: Clock) -> None:
    store = MemorySigningKeyStore()
    await key_ring(store, clock).start()
    with pytest.raises(KeyFileError, match="restore the file that belongs to this database"):
        await key_ring(store, clock, KeySealer.new_key()).start()


@pytest.mark.parametrize("text", ["", "short", "ä" * 44])
def test_key_file_that_holds_no_key_is_refused(text: str) -> None:
    with pytest.raises(KeyFileError, match="does not hold 32 bytes"):
        KeySealer(text)


async def test_published_key_is_a_json_web_key(clock: Clock) -> None:
    ring = key_ring(MemorySigningKeyStore(), clock)
    await ring.start()
    key = ring.current()
    public = jwt.PyJWK({"kty": key.public.kty, "crv": key.public.crv, "x": key.public.x}).key
    public.verify(key.private_key.sign(b"text"), b"text")
