"""Streams of the Python client: a watch loses and repeats nothing, whatever happens to its connection."""

import threading
from collections.abc import AsyncIterator, Iterator

import flare_client
import grpc
import pandas as pd
import pyarrow as pa
import pytest
from flare_client import FlareError
from flare_client import aio as flare_aio

from tests.unit.client.fake_flare import Account, FakeFlare


@pytest.fixture(autouse=True)
def _short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    for client in ("aio", "sync"):
        monkeypatch.setattr(f"flare_client.{client}.service.SILENCE_SECONDS", 0.3)


def script(fake: FakeFlare) -> None:
    """Everything that can happen to a watch, one after the other."""
    fake.job.drop_after = [3]
    fake.job.end_early_after = [99, 2]
    fake.job.silent_after = [99, 99, 1]
    fake.job.skip = [0, 0, 0, 9]


async def test_an_asynchronous_watch_survives_everything(fake: FakeFlare, account: Account) -> None:
    script(fake)
    async with flare_aio.connect(**account) as flare:
        job = await flare.jobs.get_training("one")
        causes: list[FlareError] = []
        sequences = [event.sequence async for event in job.events(on_interruption=causes.append)]
    assert sequences == list(range(1, 13))
    assert fake.job.watched_after == [0, 3, 5, 6, 8]
    assert len(causes) == 4
    assert job.state == "succeeded"


def test_a_blocking_watch_survives_everything(fake: FakeFlare, account: Account) -> None:
    script(fake)
    with flare_client.connect(**account) as flare:
        job = flare.jobs.get_training("one")
        sequences = [event.sequence for event in job.events()]
    assert sequences == list(range(1, 13))
    assert fake.job.watched_after == [0, 3, 5, 6, 8]


@pytest.mark.parametrize("after", [0, 5, 11, 12])
async def test_a_watch_goes_on_after_any_sequence(fake: FakeFlare, account: Account, after: int) -> None:
    async with flare_aio.connect(**account) as flare:
        job = await flare.jobs.get_training("one")
        assert [event.sequence async for event in job.events(after)] == list(range(after + 1, 13))


async def test_a_watch_renews_a_token_that_ended_meanwhile(fake: FakeFlare, account: Account) -> None:
    fake.job.drop_after = [4]
    async with flare_aio.connect(**account) as flare:
        job = await flare.jobs.get_training("one")
        sequences = []
        async for event in job.events():
            sequences.append(event.sequence)
            if event.sequence == 4:
                fake.expire_tokens()
    assert sequences == list(range(1, 13))
    assert fake.refreshes == 1


def test_a_watch_takes_coalesced_events_for_all_that_they_stand_for(fake: FakeFlare, account: Account) -> None:
    fake.job.coalesced = {6: 3, 11: 8}
    fake.job.skip = [7]
    with flare_client.connect(**account) as flare:
        sequences = [event.sequence for event in flare.jobs.get_training("one").events()]
    assert sequences == [1, 2, 6, 7, 11, 12]
    assert fake.job.watched_after == [0, 6]


def test_a_watch_goes_on_when_the_server_comes_back(fake: FakeFlare, account: Account) -> None:
    fake.job.silent_after = [4]
    with flare_client.connect(**account) as flare:
        events = flare.jobs.get_training("one").events()
        sequences = [next(events).sequence for _ in range(4)]
        fake.stop()
        back = threading.Timer(0.5, fake.start, [fake.address])
        back.start()
        sequences += [event.sequence for event in events]
        back.join()
    assert sequences == list(range(1, 13))


async def test_a_job_that_is_not_there_is_an_error_at_once(fake: FakeFlare, account: Account) -> None:
    fake.failures["WatchTrainingJob"] = [grpc.StatusCode.NOT_FOUND]
    async with flare_aio.connect(**account) as flare:
        job = await flare.jobs.get_training("one")
        with pytest.raises(FlareError):
            await anext(job.events())
    assert fake.calls.count("WatchTrainingJob") == 1


def test_leaving_a_watch_early_ends_its_call(fake: FakeFlare, account: Account) -> None:
    with flare_client.connect(**account) as flare:
        for event in flare.jobs.get_training("one").events():
            if event.sequence == 2:
                break
        watchdogs = [thread for thread in threading.enumerate() if thread.name == "flare-watchdog"]
        for thread in watchdogs:
            thread.join(timeout=10)
        assert not any(thread.is_alive() for thread in watchdogs)
        assert fake.job.watched_after == [0]


def test_epochs_and_history_tell_the_same(fake: FakeFlare, account: Account) -> None:
    with flare_client.connect(**account) as flare:
        job = flare.jobs.get_training("one")
        epochs = list(job.epochs())
        history = job.history()
    assert [epoch.epoch for epoch in epochs] == list(range(1, 13)) == list(history.index)
    assert list(history["train_loss"]) == [epoch.train_loss for epoch in epochs]
    assert list(history["accuracy"]) == [0.5] * 12


def test_waiting_gives_the_version(fake: FakeFlare, account: Account) -> None:
    with flare_client.connect(**account) as flare:
        assert flare.train("iris", "iris/main", epochs=3).wait().name == "models/iris/versions/1"


def frames() -> Iterator[dict[str, list[float]]]:
    """Ten tables."""
    for number in range(10):
        yield {"x": [float(number), number + 0.5]}


async def test_an_asynchronous_prediction_stream_answers_each_table_in_order(fake: FakeFlare, account: Account) -> None:
    fake.job.drop_after = [3, 5]
    async with flare_aio.connect(**account) as flare:
        answers = [frame async for frame in flare.predict_stream("iris", frames())]
    assert [list(frame["y"]) for frame in answers] == [[2.0 * n, 2.0 * n + 1] for n in range(10)]
    assert fake.calls.count("PredictStream") == 3


async def test_an_asynchronous_prediction_stream_takes_asynchronous_tables(fake: FakeFlare, account: Account) -> None:
    async def coming() -> AsyncIterator[dict[str, list[float]]]:
        for table in frames():
            yield table

    async with flare_aio.connect(**account) as flare:
        answers = [frame async for frame in flare.predict_stream("iris", coming())]
    assert [list(frame["y"]) for frame in answers] == [[2.0 * n, 2.0 * n + 1] for n in range(10)]


def test_a_blocking_prediction_stream_answers_each_table_in_order(fake: FakeFlare, account: Account) -> None:
    fake.job.drop_after = [3, 5]
    with flare_client.connect(**account) as flare:
        answers = list(flare.predict_stream("iris", frames()))
    assert [list(frame["y"]) for frame in answers] == [[2.0 * n, 2.0 * n + 1] for n in range(10)]


def test_an_error_of_the_callers_own_tables_comes_out_of_a_prediction_stream(fake: FakeFlare, account: Account) -> None:
    def broken() -> Iterator[dict[str, list[float]]]:
        yield {"x": [1.0]}
        raise RuntimeError("disk full")

    with flare_client.connect(**account) as flare, pytest.raises(RuntimeError, match="disk full"):
        list(flare.predict_stream("iris", broken()))


def test_a_view_is_read_on_at_the_batch_after_the_last(fake: FakeFlare, account: Account) -> None:
    schema = pa.schema([("x", pa.int64())])
    fake.schema = schema.serialize().to_pybytes()
    fake.views = [
        pa.record_batch([pa.array([n, n + 1])], schema=schema).serialize().to_pybytes() for n in range(0, 10, 2)
    ]
    fake.job.drop_after = [2, 1]
    with flare_client.connect(**account) as flare:
        frame = flare.datasets.to_dataframe("iris/main", "train")
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"x": range(10)}))
    assert fake.job.watched_after == [0, 2, 3]
