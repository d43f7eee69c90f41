import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper_server.sources.kaggle.retries import RetryPolicy, Stop, Stopped, retried
from servicekit.errors import DataLoss, FlareError, NotFound, Reason, ResourceExhausted, Unavailable

DOWN = Unavailable(Reason.SOURCE_UNAVAILABLE, "down")


@given(failures=st.integers(1, 50), first=st.floats(0.001, 10), longest=st.floats(0.001, 100))
def test_waits_grow_to_the_longest_and_are_spread(failures: int, first: float, longest: float) -> None:
    wait = RetryPolicy(100, first, longest).wait_seconds(failures, DOWN)
    full = min(first * 2 ** (failures - 1), longest)
    assert wait is not None
    assert full / 2 <= wait <= full


@pytest.mark.parametrize(("asked", "waits"), [(0, True), (60, True), (60.5, False), (86_400, False)])
def test_what_the_source_asks_is_waited_for_within_reason(asked: float, waits: bool) -> None:
    error = ResourceExhausted(Reason.SOURCE_RATE_LIMITED, "slower", retry_after_seconds=asked)
    wait = RetryPolicy(longest_asked_wait_seconds=60).wait_seconds(1, error)
    assert (wait is not None and wait >= asked) == waits


@pytest.mark.parametrize(
    "error",
    [
        NotFound(Reason.SOURCE_NOT_FOUND, ""),
        DataLoss(Reason.DOWNLOAD_CORRUPT, ""),
        ResourceExhausted(Reason.LIMIT_EXCEEDED, ""),
    ],
)
def test_what_stays_as_it_is_is_not_tried_again(error: FlareError) -> None:
    assert RetryPolicy().wait_seconds(1, error) is None


def test_retried_returns_the_first_good_result_and_raises_the_last_error() -> None:
    calls: list[int] = []

    def call(good_at: int) -> str:
        calls.append(1)
        if len(calls) < good_at:
            raise Unavailable(Reason.SOURCE_UNAVAILABLE, f"down {len(calls)}")
        return "good"

    policy = RetryPolicy(tries=3, first_wait_seconds=0)
    assert retried(policy, Stop(), lambda: call(3)) == "good"
    calls.clear()
    with pytest.raises(Unavailable, match="down 3"):
        retried(policy, Stop(), lambda: call(4))
    assert len(calls) == 3


def test_a_stop_ends_a_wait_at_once_and_work_before_it_starts() -> None:
    stop = Stop()
    threading.Timer(0.05, stop.request).start()
    start = time.monotonic()
    with pytest.raises(Stopped):
        stop.wait(30)
    assert time.monotonic() - start < 5
    with pytest.raises(Stopped):
        retried(RetryPolicy(), stop, lambda: pytest.fail("called after the stop"))
