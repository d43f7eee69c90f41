"""`flare.sweeps`: searches for plans that train a model well."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Unpack
from uuid import uuid4

from flare.ml.v1 import (
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    sweep_service_pb2,
    sweep_service_pb2_grpc,
)
from flare.ml.v1 import sweep_pb2 as pb

from flare_client.aio.runtime import Stream, closing
from flare_client.aio.service import OnInterruption, Service
from flare_client.aio.watch import Watch
from flare_client.jobs_state import is_final, raise_unless_succeeded, state_name
from flare_client.names import Reference, model_name, sweep_name, version_name, view_name
from flare_client.plans import PlanOptions, training_plan
from flare_client.sweep_requests import PRUNERS, SAMPLERS, Options, Space, parameter_messages, set_options
from flare_client.trials import trials_frame

if TYPE_CHECKING:
    import pandas as pd

CREATE_SECONDS = 120.0  # the model is checked against the view before the answer
PAGE_SIZE = 200


class SweepHandle:
    """A sweep on the server. It runs on whether or not anybody follows it."""

    def __init__(self, service: Service, sweep: pb.Sweep) -> None:
        self.sweep = sweep
        """The sweep as it was last seen."""
        self._service = service
        self._stub = sweep_service_pb2_grpc.SweepServiceStub(service.channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(service.channel)

    def __repr__(self) -> str:
        return f"<{self.name} {self.state}>"

    @property
    def name(self) -> str:
        """`sweeps/{id}`."""
        return self.sweep.name

    @property
    def state(self) -> str:
        """The state last seen, in a word: `queued`, `running`, `succeeded`, ..."""
        return state_name(self.sweep.state)

    async def refresh(self) -> pb.Sweep:
        """Asks how the sweep is now."""
        request = sweep_service_pb2.GetSweepRequest(name=self.name)
        self.sweep = await self._service.call(self._stub.GetSweep, request, safe=True)
        return self.sweep

    async def messages(
        self, after: int = 0, *, on_interruption: OnInterruption | None = None
    ) -> Stream[pb.Sweep | pb.SweepEvent]:
        """Snapshots of the sweep as they come, and its events as `events` gives them."""
        watch = Watch(
            self._service,
            self._stub.WatchSweep,
            lambda last: sweep_service_pb2.WatchSweepRequest(name=self.name, after_sequence=last),
            _content,
            lambda event: event.sequence,
        )
        async with closing(watch.follow(after, on_interruption)) as contents:
            async for content in contents:
                if isinstance(content, pb.Sweep):
                    self.sweep = content
                yield content

    async def events(self, after: int = 0, *, on_interruption: OnInterruption | None = None) -> Stream[pb.SweepEvent]:
        """Each event above the sequence `after`, once and in order, as it comes, up to the sweep's last.

        A broken connection, a restarted server and an ended token only cost time: the watch goes on after the last
        event that came. `on_interruption` is called with the cause each time.

        Raises:
            FlareError: The service refused, such as NOT_FOUND, or could not be reached for 10 minutes.
        """
        async with closing(self.messages(after, on_interruption=on_interruption)) as contents:
            async for content in contents:
                if isinstance(content, pb.SweepEvent):
                    yield content

    async def watch(self, after: int = 0) -> Stream[pb.SweepTrial]:
        """The trials as they end, those above the sequence `after`."""
        async with closing(self.events(after)) as events:
            async for event in events:
                if event.WhichOneof("event") == "trial_ended":
                    yield event.trial_ended

    async def wait(self) -> model_pb2.ModelVersion:
        """Waits for the sweep's end and returns the version that its best trial became.

        Raises:
            FlareError: The sweep failed, with its reason, or was cancelled.
        """
        await self.result()
        request = model_service_pb2.GetModelVersionRequest(name=self.sweep.version)
        return await self._service.call(self._models.GetModelVersion, request, safe=True)

    async def result(self) -> pb.SweepTrial:
        """Waits for the sweep's end and returns its best trial. Raises FlareError as `wait`."""
        if not is_final(self.sweep.state):
            async with closing(self.messages()) as contents:
                async for _ in contents:
                    pass
        raise_unless_succeeded(self.name, self.sweep.state, self.sweep.error)
        return self.sweep.best_trial

    async def cancel(self, *, keep_best: bool = False) -> pb.Sweep:
        """Asks the sweep to stop, with its trials; `wait` says when it did.

        With `keep_best` the best trial so far, if there is one, becomes a version: `sweep.version` names it then.

        Raises:
            FlareError: JOB_ENDED, if it has ended.
        """
        request = sweep_service_pb2.CancelSweepRequest(name=self.name, keep_best=keep_best)
        self.sweep = await self._service.call(self._stub.CancelSweep, request, safe=True)
        return self.sweep

    async def trials(self) -> list[pb.SweepTrial]:
        """The trials so far, by their number."""
        trials: list[pb.SweepTrial] = []
        page_token = ""
        while True:
            request = sweep_service_pb2.ListSweepTrialsRequest(
                parent=self.name, page_size=PAGE_SIZE, page_token=page_token
            )
            page = await self._service.call(self._stub.ListSweepTrials, request, safe=True)
            trials += page.trials
            page_token = page.next_page_token
            if not page_token:
                return trials

    async def history(self) -> pd.DataFrame:
        """A row for each trial so far, by its number: state, value, epochs, and a column for each parameter."""
        return trials_frame(await self.trials())


class Sweeps:
    """The sweeps of the caller."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stub = sweep_service_pb2_grpc.SweepServiceStub(service.channel)

    async def create(
        self,
        model: Reference,
        view: Reference,
        space: Space,
        *,
        objective: str = "",
        target: str = "",
        sampler: Options = "tpe",
        pruner: Options = "no_pruner",
        max_trials: int = 0,
        parallel_trials: int = 1,
        max_seconds: float = 0.0,
        sweep_seed: int = 0,
        priority: int = 0,
        base_version: Reference | None = None,
        **plan: Unpack[PlanOptions],
    ) -> SweepHandle:
        """Starts a sweep and returns at once; `.watch()` follows its trials, `.wait()` gives the best one's version.

        `space` has the fields of the plan that differ from trial to trial, each with a list of choices or a range:
        `{"learning_rate": between(1e-4, 0.1, log=True), "optimizer": ["adam", "sgd"]}`. Everything else is as the plan
        says. `objective` is `validation_loss` unless set, or a metric such as `accuracy`; of several targets name one.
        `sampler` is `tpe`, `random`, `grid` or `gaussian_process`, `pruner` `no_pruner`, `median`, `percentile`,
        `successive_halving` or `hyperband`; with options they are written `{"grid": {"points": 3}}`.

        Raises:
            FlareError: There is no such model or view, a parameter is none of the plan's, or a value makes no plan.
        """
        sweep = pb.Sweep(
            model=model_name(model),
            view=view_name(view),
            plan=training_plan(plan),
            parameters=parameter_messages(space),
            objective=pb.SweepObjective(metric=objective, target=target),
            max_trials=max_trials,
            parallel_trials=parallel_trials,
            seed=sweep_seed,
            priority=priority,
            base_version=version_name(base_version) if base_version is not None else "",
        )
        if max_seconds:
            sweep.max_duration.FromNanoseconds(round(max_seconds * 1e9))
        set_options(sweep, "sampler", sampler, SAMPLERS)
        set_options(sweep, "pruner", pruner, PRUNERS)
        request = sweep_service_pb2.CreateSweepRequest(sweep=sweep, request_id=str(uuid4()))
        created = await self._service.call(self._stub.CreateSweep, request, safe=True, seconds=CREATE_SECONDS)
        return SweepHandle(self._service, created)

    async def get(self, sweep: Reference) -> SweepHandle:
        """A sweep, to be followed."""
        request = sweep_service_pb2.GetSweepRequest(name=sweep_name(sweep))
        return SweepHandle(self._service, await self._service.call(self._stub.GetSweep, request, safe=True))

    async def list(self, limit: int = 100) -> builtins.list[SweepHandle]:
        """The newest sweeps, newest first."""
        sweeps: list[SweepHandle] = []
        page_token = ""
        while len(sweeps) < limit:
            request = sweep_service_pb2.ListSweepsRequest(
                page_size=min(PAGE_SIZE, limit - len(sweeps)), page_token=page_token
            )
            page = await self._service.call(self._stub.ListSweeps, request, safe=True)
            sweeps += [SweepHandle(self._service, sweep) for sweep in page.sweeps]
            page_token = page.next_page_token
            if not page_token:
                break
        return sweeps[:limit]


def _content(
    message: sweep_service_pb2.WatchSweepResponse,
) -> tuple[pb.Sweep | None, pb.SweepEvent | None]:
    kind = message.WhichOneof("message")
    return message.snapshot if kind == "snapshot" else None, message.event if kind == "event" else None
