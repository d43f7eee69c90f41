"""Each GPU has one job at a time, and jobs that need none do not wait for those that do."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_server.training import devices
from servicekit.jobs.follow import JobFollower
from servicekit.jobs.memory import MemoryJobStore
from servicekit.jobs.resources import Resources
from servicekit.jobs.runner import JobRun, JobRunner
from servicekit.jobs.values import JobState
from servicekit.jobs.wakeups import Wakeups

ANN = "accounts/ann"
GPUS = {"cuda": ["cuda:0", "cuda:1"]}
wanted = st.sampled_from(["", "cuda", "cuda:0", "cuda:1"])


def test_any_of_a_pool_is_the_first_free_one() -> None:
    resources = Resources(GPUS)
    assert resources.unavailable() == frozenset()
    assert resources.take("cuda:0") == "cuda:0"
    assert resources.unavailable() == {"cuda:0"}
    assert resources.take("cuda") == "cuda:1"
    assert resources.unavailable() == {"cuda", "cuda:0", "cuda:1"}
    resources.give_back("cuda:0")
    assert resources.take("cuda") == "cuda:0"


def test_what_is_in_no_pool_is_there_for_everybody() -> None:
    resources = Resources()
    assert [resources.take(each) for each in ("", "", "cuda:7", "cuda:7")] == ["", "", "cuda:7", "cuda:7"]
    assert resources.unavailable() == frozenset()


@given(st.lists(st.one_of(wanted, st.integers(0, 9)), max_size=40))
def test_no_two_have_the_same_and_a_free_one_is_never_refused(steps: list[str | int]) -> None:
    resources, held = Resources(GPUS), list[str]()
    for step in steps:
        if isinstance(step, int):
            if held:
                resources.give_back(held.pop(step % len(held)))
            continue
        free = {"cuda:0", "cuda:1"} - set(held)
        is_free = bool(free) if step == "cuda" else not step or step in free
        assert (step not in resources.unavailable()) == is_free
        if is_free:
            taken = resources.take(step)
            assert taken not in held or not taken
            held.append(taken)


async def test_gpu_jobs_wait_for_their_gpu_while_others_pass_them() -> None:
    wakeups = Wakeups()
    store = MemoryJobStore("trainingJobs", wakeups)
    running: dict[str, tuple[str, asyncio.Event]] = {}
    changed = asyncio.Event()

    async def work(run: JobRun) -> dict[str, Any]:
        end = asyncio.Event()
        running[run.job.id] = (run.resource, end)
        changed.set()
        await end.wait()
        del running[run.job.id]
        return {}

    async def until(expected: dict[str, str]) -> None:
        async with asyncio.timeout(30):
            while {job: resource for job, (resource, _) in running.items()} != expected:
                changed.clear()
                await changed.wait()

    runner = JobRunner(store, wakeups, work, name="one", concurrency=4, resources=Resources(GPUS))
    jobs = (("first", "cuda:0"), ("same", "cuda:0"), ("any", "cuda"), ("late", "cuda"), ("cpu", ""))
    for job, resource in jobs:
        await store.create(job, ANN, {}, 3, resource=resource)
    await runner.start()
    await until({"first": "cuda:0", "any": "cuda:1", "cpu": ""})
    assert (await store.get(ANN, "same")).state is JobState.QUEUED
    running["any"][1].set()
    await until({"first": "cuda:0", "late": "cuda:1", "cpu": ""})
    running["first"][1].set()
    await until({"same": "cuda:0", "late": "cuda:1", "cpu": ""})
    for _, end in list(running.values()):
        end.set()
    follower = JobFollower(store, wakeups)
    for job, _ in jobs:
        assert [message async for message in follower.follow(ANN, job, 0)]
    await runner.drain()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("auto", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("cpu", "")],
)
def test_a_plan_wants_a_gpu_to_itself_unless_it_trains_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert devices.gpus()["cuda"] == ["cuda:0", "cuda:1"]
    assert devices.wanted_gpu(name, devices.resolve_device(name)) == expected
