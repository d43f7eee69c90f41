from scraper_server.sources.kaggle.pace import LeastPace, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def started(clock: Clock, size: int = 0) -> Pace:
    """At least 100 bytes a second, over 10 seconds."""
    pace = Pace(LeastPace(100, 10), clock)
    pace.started(size)
    return pace


def test_a_connection_is_judged_by_whole_windows() -> None:
    clock = Clock()
    pace = started(clock)
    clock.now += 9.9
    assert not pace.is_too_slow(0), "the window has not ended"
    clock.now += 0.1
    assert not pace.is_too_slow(1000)
    clock.now += 10
    assert pace.is_too_slow(1999), "what came before does not help"


def test_a_new_connection_has_a_new_window() -> None:
    clock = Clock()
    pace = started(clock)
    clock.now += 9
    pace.connected(10)
    clock.now += 9
    assert not pace.is_too_slow(11)
    clock.now += 1
    assert pace.is_too_slow(12)


def test_tries_come_back_for_any_bytes_that_came_fast_enough() -> None:
    clock = Clock()
    pace = started(clock)
    for connection in range(1, 1000):
        clock.now += 0.5
        assert pace.has_got_on(100 * connection)


def test_a_byte_now_and_then_gives_no_tries_back() -> None:
    clock = Clock()
    pace = started(clock)
    for connection in range(1, 1000):
        clock.now += 0.5
        assert not pace.has_got_on(connection)


def test_small_gains_add_up() -> None:
    clock = Clock()
    pace = started(clock)
    clock.now += 0.1
    assert not pace.has_got_on(60)
    clock.now += 0.1
    assert pace.has_got_on(120)
    clock.now += 0.1
    assert not pace.has_got_on(180)


def test_a_wait_that_was_asked_for_costs_nothing() -> None:
    clock = Clock()
    pace = started(clock)
    clock.now += 1000
    pace.waited(999)
    assert pace.has_got_on(100)


def test_bytes_that_were_thrown_away_are_not_counted_again() -> None:
    clock = Clock()
    pace = started(clock, 10_000)
    pace.started(0)
    clock.now += 1
    assert not pace.has_got_on(50)
    assert pace.has_got_on(100)
