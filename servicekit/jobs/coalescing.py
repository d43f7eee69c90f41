"""What one watcher is sent of a job's events when it reads more slowly than they come."""

from collections.abc import Iterator
from dataclasses import replace

from servicekit.jobs.values import Event

# A watcher reads slowly if, while its messages were on their way, so many more events came than went.
PILE = 10


class Coalescing:
    """Passes events on as they are, until they pile up: of metrics that follow on each other then just the newest.

    Together the sequences of what is sent, and the runs from `coalesced_from` on, are all sequences, each once. Events
    that the log had when the watcher came are never coalesced: it may have come late, which is not slow.
    """

    def __init__(self, metrics: frozenset[str], newest: int) -> None:
        """`metrics` are the kinds of event of which a newer one makes an older one worthless.

        `newest` is the sequence of the newest event when the watcher came.
        """
        self._metrics = metrics
        self._whole_up_to = newest
        self._lag = 0
        self._piled_up_to = 0
        self._newest_of_run: Event | None = None
        self._run_from = 0

    def sent(self, come: int, newest: int) -> None:
        """The watcher has taken a message, and `come` events came meanwhile, so that there are those up to `newest`."""
        self._lag = max(0, self._lag + come - 1)
        if self._lag >= PILE:
            self._lag, self._piled_up_to = 0, newest

    def take(self, event: Event) -> Iterator[Event]:
        """What is to be sent once the next event is known: of a run of metrics nothing before its newest."""
        run, run_from = self._newest_of_run, self._run_from
        if event.kind in self._metrics:
            run, run_from = event, run_from if run else event.sequence
            if self._whole_up_to < event.sequence < self._piled_up_to:
                self._newest_of_run, self._run_from = run, run_from
                return
        self._newest_of_run = None
        if run is not None:
            yield run if run_from == run.sequence else replace(run, coalesced_from=run_from)
        if event is not run:
            yield event
