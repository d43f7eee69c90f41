"""Things of which a job has one to itself while it runs, such as GPUs."""

from collections.abc import Mapping, Sequence


class Resources:
    """Pools of things by name. A job wants a thing by its own name, or any of a pool; no two jobs have the same."""

    def __init__(self, pools: Mapping[str, Sequence[str]] | None = None) -> None:
        """`pools` are such as `{"cuda": ["cuda:0", "cuda:1"]}`."""
        self._pools = {pool: tuple(things) for pool, things in (pools or {}).items()}
        self._taken: set[str] = set()

    def unavailable(self) -> frozenset[str]:
        """What a job that wants it has to wait for: things that are taken, and pools without a free one."""
        empty = {pool for pool, things in self._pools.items() if self._taken.issuperset(things)}
        return frozenset(self._taken | empty)

    def take(self, wanted: str) -> str:
        """Takes what is wanted, which is not unavailable, and names it: the first free one of a pool."""
        things = self._pools.get(wanted, (wanted,))
        thing = next(each for each in things if each not in self._taken)
        if any(thing in pool for pool in self._pools.values()):
            self._taken.add(thing)
        return thing

    def give_back(self, thing: str) -> None:
        """Others may take it."""
        self._taken.discard(thing)
