"""How a worker is asked to end."""

import threading
from enum import StrEnum


class StopKind(StrEnum):
    """What becomes of the work so far."""

    CANCEL = "cancel"
    """Nothing."""
    PAUSE = "pause"
    """Another attempt goes on from here: the loop saves its state before it ends."""
    FINISH = "finish"
    """The best epoch so far becomes a version."""


class Stop:
    """Set by the thread that listens to the server, looked at between two steps."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._kind = StopKind.CANCEL

    def is_asked(self) -> bool:
        """True once the server wants the attempt to end."""
        return self._asked.is_set()

    @property
    def asked(self) -> StopKind | None:
        """What the server wants; None while the attempt is to go on."""
        return self._kind if self._asked.is_set() else None

    def ask(self, kind: StopKind) -> None:
        """Asks the loop to end. A later call may change the kind."""
        self._kind = kind
        self._asked.set()
