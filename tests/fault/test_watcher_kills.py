"""A program that watches a training is killed, another is stopped: the training goes on, and nothing is missed."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.trainings import EPOCHS, Watcher, assert_whole, breast_cancer_view, connect, train
from tests.services import FlareServices, start_services, stop_services

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[FlareServices]:
    services = start_services(tmp_path / "data")
    yield services
    stop_services(services)


def watch(services: FlareServices, job: str, after: int) -> "subprocess.Popen[str]":
    """`flare jobs watch` in a process of its own."""
    command = [sys.executable, "-m", "flare_client.cli.main", "jobs", "watch", job, "--after", str(after), "-o", "json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=services.environment())


def events(process: "subprocess.Popen[str]") -> Iterator[dict[str, object]]:
    assert process.stdout is not None
    for line in process.stdout:
        message = json.loads(line)
        if "event" in message:
            yield message["event"]


def told(events: list[dict[str, object]]) -> list[int]:
    """The sequences that events stand for: one that was slow to read may be sent the newest of a run of metrics."""
    runs = [(int(str(each.get("coalesced_from", each["sequence"]))), int(str(each["sequence"]))) for each in events]
    return [sequence for first, last in runs for sequence in range(first, last + 1)]


def test_a_watcher_is_killed_and_another_goes_on_where_it_was(services: FlareServices) -> None:
    with connect(services) as flare:
        job = train(flare, breast_cancer_view(flare), "watched")
        other = Watcher(job)
        killed = watch(services, job.name, 0)
        stopped = watch(services, job.name, 0)
        seen: list[dict[str, object]] = []
        for event in events(killed):
            seen.append(event)
            if "checkpoint_saved" in event:
                break
        stopped.send_signal(signal.SIGSTOP)  # it reads no more, and its connection stays
        killed.kill()
        killed.wait()
        assert killed.stdout is not None
        killed.stdout.close()
        again = watch(services, job.name, int(str(seen[-1]["sequence"])))
        seen += events(again)
        assert again.wait() == 0
        assert told(seen) == list(range(1, int(str(seen[-1]["sequence"])) + 1))
        assert sum("epoch_finished" in event for event in seen) == EPOCHS
        assert_whole(other.finish())
        assert len(job.refresh().attempts) == 1
        stopped.send_signal(signal.SIGCONT)
        late = list(events(stopped))
        assert stopped.wait() == 0
        assert told(late) == told(seen)
        assert [event for event in late if "progress" not in event] == [e for e in seen if "progress" not in e]
