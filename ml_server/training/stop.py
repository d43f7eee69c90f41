"""How a worker is asked to end."""

import threading


class Stop:
    """Set by the thread that listens to the server, looked at between two steps."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.keeps_progress = False
        """True if another attempt is to go on from here: the loop saves its state before it ends."""

    @property
    def is_asked(self) -> bool:
        """True once the attempt is to end."""
        return self._asked.is_set()

    def ask(self, *, keeps_progress: bool) -> None:
        """Asks the loop to end."""
        self.keeps_progress = keeps_progress
        self._asked.set()
