"""Names for versions: one version each, or several that share the predictions out among them."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from servicekit.errors import InvalidArgument, Reason


@dataclass(frozen=True)
class Share:
    """How much of an alias's predictions a version gets: its weight beside those of the others."""

    version: int
    weight: int


@dataclass(frozen=True)
class Alias:
    """What a name means: `version` wherever one version is needed, and for predictions the shares, if there are any.

    `shadow` is asked beside the version that answers; 0 for none.
    """

    version: int
    shares: tuple[Share, ...] = ()
    shadow: int = 0

    @classmethod
    def checked(cls, version: int, shares: Sequence[Share] = (), shadow: int = 0) -> "Alias":
        """An alias whose parts fit each other; the share of `version` comes first.

        Raises:
            InvalidArgument: INVALID_FIELD.
        """
        numbers = [share.version for share in shares]
        for index, number in enumerate(numbers):
            if number in numbers[:index]:
                raise _wrong(f"version {number} has two shares: give it one", f"shares[{index}].version")
        if numbers and version not in numbers:
            text = f"version {version} has no share: give it one, or name one of the versions that do"
            raise _wrong(text, "version")
        if shadow and shadow in (version, *numbers):
            text = f"version {shadow} answers already, so it can't be the shadow too: name another one, or none"
            raise _wrong(text, "shadow_version")
        first_come = sorted(shares, key=lambda share: share.version != version)
        return cls(version, tuple(first_come), shadow)

    def keeping_shadow(self, before: "Alias | None") -> "Alias":
        """With the shadow of what the alias meant before, unless that version answers itself from now on."""
        if self.shadow or before is None or before.shadow in self.versions:
            return self
        return replace(self, shadow=before.shadow)

    @property
    def versions(self) -> tuple[int, ...]:
        """The number of every version that it needs."""
        others = (share.version for share in self.shares if share.version != self.version)
        return (self.version, *others, *([self.shadow] if self.shadow else ()))

    def answering(self, name: str, request_id: str) -> int:
        """The number of the version that answers a request; equal ids get the same one, no id is decided by chance.

        `name` is the alias's, as `models/iris@prod`: ids fall differently for another one. A version whose weight grows
        takes ids from others and gives none away, and the other way round (weighted rendezvous hashing: Schindelhauer
        and Schomaker, "Weighted Distributed Hash Tables", 2005). No rule of id and weights alone moves fewer ids for
        one change without moving more for another: where shares change by d in total variation, at most 2d / (1 + d)
        move (Moulton and Jiang, "Maximally Consistent Sampling and the Jaccard Index of Probability Distributions",
        2018).
        """
        if len(self.shares) < 2:
            return self.version
        if not request_id:
            weights = [share.weight for share in self.shares]
            return random.choices(self.shares, weights)[0].version  # noqa: S311 - nothing hangs on who guesses it
        return max(self.shares, key=lambda share: _distance(name, share, request_id)).version


def _distance(name: str, share: Share, request_id: str) -> float:
    digest = blake2b(f"{name}\n{share.version}\n{request_id}".encode(), digest_size=8).digest()
    chance = (int.from_bytes(digest) + 0.5) / 2**64
    return share.weight / -math.log(chance) if chance < 1 else math.inf


def _wrong(text: str, field: str) -> InvalidArgument:
    return InvalidArgument(Reason.INVALID_FIELD, text, field=field)
