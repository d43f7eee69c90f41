"""The public keys that tokens are verified with: given, or fetched from an issuer ahead of need."""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import jwt
import structlog

from servicekit.errors import Reason, Unavailable

log = structlog.get_logger()

# A key type signs with one algorithm, so a token can't talk a verifier into another (RFC 8725, 3.1).
ALGORITHM_OF_KEY: Mapping[tuple[object, object], str] = {
    ("OKP", "Ed25519"): "EdDSA",
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
}
KEY_SET_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True)
class VerificationKey:
    """A public key and the one algorithm that it verifies."""

    kid: str
    algorithm: str
    key: Any  # of `cryptography`, which has no common type for public keys


class KeySet(Protocol):
    """Keys by id."""

    def find(self, kid: str) -> VerificationKey | None:
        """The key with this id among those known now. Touches neither network nor disk."""

    async def look_for(self, kid: str) -> VerificationKey | None:
        """The key with this id, also if it was made just now.

        Raises:
            Unavailable: DEPENDENCY_UNAVAILABLE, the place that has the keys does not answer.
        """

    async def start(self) -> None:
        """Begins to keep the keys fresh. Does not wait for them."""

    async def close(self) -> None:
        """Stops that."""


class StaticKeySet:
    """Keys that never change."""

    def __init__(self, keys: Sequence[VerificationKey]) -> None:
        self._keys = {key.kid: key for key in keys}

    def find(self, kid: str) -> VerificationKey | None:
        """The key with this id."""
        return self._keys.get(kid)

    async def look_for(self, kid: str) -> VerificationKey | None:
        """The same: there are no others."""
        return self._keys.get(kid)

    async def start(self) -> None:
        """Nothing to begin."""

    async def close(self) -> None:
        """Nothing to stop."""


@dataclass(frozen=True, eq=False)
class _Question:
    kid: str
    answer: "asyncio.Future[VerificationKey | None]"


class RemoteKeySet:
    """The keys at an issuer's JWKS address, fetched in the background.

    The issuer may come up later than this service. Once known, keys stay in use while the issuer is away.
    """

    def __init__(
        self,
        url: str,
        *,
        refresh_seconds: float = 300,
        least_interval_seconds: float = 2,
        timeout_seconds: float = 5,
        most_waiting: int = 256,
    ) -> None:
        """`refresh_seconds` is the usual age at which keys are fetched again, `least_interval_seconds` the time between
        two fetches however many unknown keys are asked for, `most_waiting` how many calls may wait for a fetch."""
        self._url = url
        self._refresh_seconds = refresh_seconds
        self._least_interval_seconds = least_interval_seconds
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._most_waiting = most_waiting
        self._keys: Mapping[str, VerificationKey] = {}
        self._questions: list[_Question] = []
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def find(self, kid: str) -> VerificationKey | None:
        """The key with this id among those fetched last."""
        return self._keys.get(kid)

    async def look_for(self, kid: str) -> VerificationKey | None:
        """The key with this id; None if a fetch that began after this call does not bring it.

        Raises:
            Unavailable: DEPENDENCY_UNAVAILABLE, the issuer does not answer with keys, or too many calls wait for it.
        """
        await self.start()
        if len(self._questions) >= self._most_waiting:
            raise self._unavailable("too many calls wait for them")
        question = _Question(kid, asyncio.get_running_loop().create_future())
        self._questions.append(question)
        self._asked.set()
        try:
            return await question.answer
        finally:
            if question in self._questions:  # the call was cancelled while it waited
                self._questions.remove(question)

    async def start(self) -> None:
        """Begins to fetch."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_fresh(), name="key-set")

    async def close(self) -> None:
        """Stops fetching; calls that wait get Unavailable."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._refuse(list(self._questions), "this server is stopping")

    async def _keep_fresh(self) -> None:
        async with aiohttp.ClientSession(timeout=self._timeout) as session:
            while True:
                began = time.monotonic()
                await self._fetch_and_answer(session)
                if not self._questions:  # who asked meanwhile is content with this fetch
                    self._asked.clear()
                await asyncio.sleep(max(0, began + self._least_interval_seconds - time.monotonic()))
                if self._keys:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._asked.wait(), self._refresh_seconds)

    async def _fetch_and_answer(self, session: aiohttp.ClientSession) -> None:
        # Who asks while the fetch runs may want a key that this fetch no longer sees: a miss answers only these.
        asked_before = list(self._questions)
        try:
            keys = await self._fetch(session)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            cause = str(error) or type(error).__name__
            log.warning("key_set_unavailable", url=self._url, error=cause, known_keys=len(self._keys))
            self._refuse(asked_before, cause)
            return
        if keys.keys() != self._keys.keys():
            log.info("key_set_changed", url=self._url, kids=sorted(keys))
        self._keys = keys
        for question in list(self._questions):
            key = keys.get(question.kid)
            if key is not None or question in asked_before:
                self._questions.remove(question)
                question.answer.set_result(key)

    async def _fetch(self, session: aiohttp.ClientSession) -> Mapping[str, VerificationKey]:
        async with session.get(self._url, raise_for_status=True) as response:
            body = b""
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > KEY_SET_LIMIT_BYTES:
                    raise ValueError(f"the answer is longer than {KEY_SET_LIMIT_BYTES} bytes")
        keys = {key.kid: key for key in keys_of(body)}
        if not keys:
            raise ValueError("the answer holds no key that Flare can use: Ed25519, RSA or P-256, with a kid")
        return keys

    def _refuse(self, questions: Sequence[_Question], cause: str) -> None:
        for question in questions:
            if question in self._questions:
                self._questions.remove(question)
                question.answer.set_exception(self._unavailable(cause))

    def _unavailable(self, cause: str) -> Unavailable:
        return Unavailable(
            Reason.DEPENDENCY_UNAVAILABLE,
            f"the keys of the token issuer at {self._url} can't be read ({cause}): try again; if this lasts, "
            "check the address and that the issuer runs",
            retry_after_seconds=self._least_interval_seconds,
        )


def keys_of(document: bytes) -> list[VerificationKey]:
    """The usable signature keys of a JWKS document; those of other kinds are left out.

    Raises:
        ValueError: It is not a JWKS document.
    """
    try:
        entries = json.loads(document)["keys"]
        return [key for entry in entries if (key := _verification_key(entry))]
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, jwt.PyJWTError) as error:
        raise ValueError(f"not a JSON web key set: {error}") from error


def _verification_key(entry: Mapping[str, Any]) -> VerificationKey | None:
    kid, kty = entry.get("kid"), entry.get("kty")
    algorithm = ALGORITHM_OF_KEY.get((kty, None if kty == "RSA" else entry.get("crv")))
    if not kid or algorithm is None or entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
        return None
    return VerificationKey(kid, algorithm, jwt.PyJWK(dict(entry), algorithm).key)
