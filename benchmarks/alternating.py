"""Measures two sides under equal conditions."""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

Step = Callable[..., Any]


def median_seconds(runs: int, first: Step, second: Step, *arguments: Any) -> tuple[float, float]:
    """The median seconds of each of two steps.

    They run in turns, so that a slow minute of the machine is a slow one of both. Each run has a fresh process; what a
    step imports is imported before the clock starts.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for step, seconds in zip((first, second), taken, strict=True):
            seconds.append(seconds_of(step, *arguments))
    return statistics.median(taken[0]), statistics.median(taken[1])


def seconds_of(step: Step, *arguments: Any) -> float:
    """What one run takes in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_timed, args=(theirs, step, arguments))
    process.start()
    theirs.close()
    try:
        return float(ours.recv())
    finally:
        process.join()


def _timed(connection: Connection, step: Step, arguments: tuple[Any, ...]) -> None:
    start = time.perf_counter()
    step(*arguments)
    connection.send(time.perf_counter() - start)
