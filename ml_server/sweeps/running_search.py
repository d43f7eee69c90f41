"""The trials of a sweep under way: begun as Optuna suggests, followed by their events, and pruned."""

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import takewhile
from typing import Any, TypeVar

from pydantic import ValidationError

from ml_server.sweeps.events import (
    BestChanged,
    Story,
    SweepEvent,
    TimeOver,
    Trial,
    TrialEnded,
    TrialPruned,
    TrialStarted,
    TrialState,
    draft_of,
)
from ml_server.sweeps.study import Study, TrialEnd
from ml_server.sweeps.trials import Record, Reported, Trials, as_ended, trial_job_id
from ml_server.sweeps.values import SweepSpec
from servicekit.errors import FailedPrecondition, InvalidArgument, NotFound, Reason
from servicekit.jobs.runner import JobRun

T = TypeVar("T")

# So many trials that fail from the first on, for a reason that lies not in their values, fail the sweep.
FIRST_FAILED = 3
# So do so many in a row at any time, whatever the reason.
FAILED_IN_A_ROW = 10
# These depend on the values of a trial, and others may do without.
FAULTS_OF_VALUES = frozenset({Reason.TRAINING_DIVERGED, Reason.OUT_OF_MEMORY, Reason.STEP_FAILED})


class RunningSearch:
    """One attempt at the trials of a sweep."""

    def __init__(self, run: JobRun, spec: SweepSpec, story: Story, trials: Trials) -> None:
        """`story` is what earlier attempts told."""
        self.story = story
        self._run = run
        self._spec = spec
        self._objective = spec.search.objective
        self._trials = trials
        self._following: list[asyncio.Task[Trial]] = []
        self._study: Study | None = None
        self._study_is_free = asyncio.Lock()
        self._log_is_free = asyncio.Lock()
        self._trials_were_told = False

    async def run(self) -> None:
        """Returns when every trial has ended and no further one is to begin.

        Raises:
            FailedPrecondition: TRIALS_FAILED, if there is no sense in further ones.
        """
        if not self._is_ending:
            await self._resume_study()
        self._following = [asyncio.create_task(self._trained(number)) for number in self.story.running]
        asked = asyncio.create_task(self._run.finish_requested.wait())
        try:
            if self.story.planned is not None:
                await self._begin(self.story.planned)
            while True:
                await self._end_if_due()
                await self._begin_trials()
                if not self._following:
                    return
                waiting: set[asyncio.Task[Any]] = {*self._following, *([] if self._is_ending else [asked])}
                await asyncio.wait(waiting, timeout=self._seconds_left(), return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in self._following if task.done()]:
                    self._following.remove(task)
                    await self._end(task.result())
                self._require_hope()
        finally:
            asked.cancel()
            for task in self._following:
                task.cancel()
            await asyncio.gather(asked, *self._following, return_exceptions=True)

    async def abandon(self) -> None:
        """Cancels what runs, waits for it, and clears all weights away."""
        self._study = None
        if self.story.planned is not None:
            with contextlib.suppress(NotFound):  # a kill came before its training
                await self._trials.get(self._run.job, self.story.planned)
                await self.emit(TrialStarted(self.story.planned))
        for number in self.story.running:
            await self._trials.cancel(self._run.job.owner, self.story.trials[number])
            await self.emit(TrialEnded(await self._trained(number)))
        await self.clear(keep=None)

    async def clear(self, keep: Trial | None) -> None:
        """Deletes the weights of every trial but one."""
        for trial in self.story.trials.values():
            if trial != keep:
                await self._trials.clear(self._spec.training.model_uid, trial)

    async def emit(self, *events: SweepEvent) -> None:
        """Adds events to the story and to the log."""
        async with self._log_is_free:  # or an older progress could be written over a newer one
            self.story.take(events)
            await self._run.emit(*map(draft_of, events), progress=self.story.progress())

    @property
    def _is_ending(self) -> bool:
        return self._run.finish_requested.is_set() or self.story.time_is_over

    def _seconds_left(self) -> float | None:
        """Until the sweep's time is over; None if that does not matter (any more)."""
        if self._is_ending or not self._spec.search.max_seconds:
            return None
        began = self._run.job.start_time or datetime.now(UTC)
        return max(0.0, self._spec.search.max_seconds - (datetime.now(UTC) - began).total_seconds())

    async def _resume_study(self) -> None:
        """Tells Optuna what earlier attempts have told it."""
        planned = [self.story.planned] if self.story.planned is not None else []
        begun = [*self.story.trials.values(), *planned]
        ended = [self.story.trials[number] for number in self.story.ended]
        records = [await self._trials.record(trial, self._objective) for trial in ended]

        def told_again() -> Study:
            study = Study(self._run.job.id, self._spec.training.plan, self._spec.search)
            for trial in begun:
                study.know(trial.number, trial.parameters)
            for trial, record in zip(ended, records, strict=True):
                for epoch, value in record.values.items():
                    if trial.state is not TrialState.PRUNED or epoch <= trial.epoch:
                        study.report(trial.number, epoch, value)
                study.tell(trial.number, *_lesson(trial))
            return study

        self._study = await asyncio.to_thread(told_again)

    async def _with_study(self, use: Callable[[Study], T]) -> T | None:
        """Uses the study in a thread, one use after the other. None when no study is needed any more."""
        async with self._study_is_free:
            return await asyncio.to_thread(use, self._study) if self._study is not None else None

    async def _begin_trials(self) -> None:
        while (
            not self._is_ending
            and len(self._following) < self._spec.search.parallel_trials
            and len(self.story.trials) < self._spec.total_trials
        ):
            number = len(self.story.trials) + 1
            point = await self._with_study(partial(Study.ask, number=number))
            assert point is not None
            self.story.planned = Trial(number, trial_job_id(self._run.job.id, number), point)
            await self.emit()  # before its training is there: after a kill the same values are tried
            await self._begin(self.story.planned)

    async def _begin(self, trial: Trial) -> None:
        """Makes the training of a planned trial, unless it was made before a kill, and follows it."""
        try:
            await self._trials.begin(self._run.job, self._spec, trial)
        except ValidationError as error:
            cause = InvalidArgument(Reason.INVALID_FIELD, f"these values together make no valid plan: {error}")
            await self.emit(TrialStarted(trial))
            await self._end(replace(trial, state=TrialState.FAILED, error=cause.to_json()))
            return
        await self.emit(TrialStarted(trial))
        self._following.append(asyncio.create_task(self._trained(trial.number)))

    async def _trained(self, number: int) -> Trial:
        """Follows a trial, and returns it as it ended."""
        trial, owner, record = self.story.trials[number], self._run.job.owner, Record()
        if number in self.story.pruned:
            await self._trials.cancel(owner, trial)
        async with aclosing(self._trials.follow(owner, trial, self._objective, record)) as messages:
            async for message in messages:
                match message:
                    case Reported(epoch, value, is_new) if value is not None and number not in self.story.pruned:
                        can_end = is_new and epoch < self._epochs(trial)
                        prune = await self._with_study(partial(Study.report, number=number, epoch=epoch, value=value))
                        if prune and can_end and not self._is_ending:
                            await self.emit(TrialPruned(number, epoch, value))
                            await self._trials.cancel(owner, trial)
                    case Reported():
                        pass
                    case job:
                        return as_ended(trial, job, record, self.story.pruned.get(number), self._objective)
        raise AssertionError("a followed job ends with its last snapshot")

    def _epochs(self, trial: Trial) -> int:
        return int(trial.parameters.get("epochs", self._spec.training.plan.epochs))

    async def _end(self, trial: Trial) -> None:
        """Writes down how a trial ended, and keeps no more than the best one's weights."""
        before = self.story.best
        is_best = self.story.is_better(trial)
        await self.emit(TrialEnded(trial), *([BestChanged(trial)] if is_best else []))
        await self._with_study(lambda study: study.tell(trial.number, *_lesson(trial)))
        loser = before if is_best else trial
        if loser is not None:
            await self._trials.clear(self._spec.training.model_uid, loser)

    @property
    def _keeps_best(self) -> bool:
        return self._run.keeps_result or not self._run.finish_requested.is_set()

    async def _end_if_due(self) -> None:
        """Asks the trials under way to end, once, when somebody wants that or the time is over."""
        if not self._is_ending and self._seconds_left() == 0.0:
            await self.emit(TimeOver(len(self.story.running)))
        if self._is_ending and not self._trials_were_told:
            self._trials_were_told = True
            for number in self.story.running:
                await self._trials.cancel(self._run.job.owner, self.story.trials[number], keep_best=self._keeps_best)

    def _require_hope(self) -> None:
        """Raises FailedPrecondition (TRIALS_FAILED) if there is no sense in further trials."""
        if self._is_ending:
            return
        trials = [self.story.trials[number] for number in self.story.ended]
        failed = list(takewhile(lambda trial: trial.state is TrialState.FAILED, reversed(trials)))
        causes = [trial.cause.reason for trial in failed if trial.cause is not None]
        from_the_first = len(failed) == len(trials) >= FIRST_FAILED and not FAULTS_OF_VALUES.intersection(causes)
        if from_the_first or len(failed) >= FAILED_IN_A_ROW:
            raise trials_failed(f"{len(failed)} trials in a row failed", failed[0])


def _lesson(trial: Trial) -> tuple[TrialEnd, float | None]:
    """What Optuna learns of a trial that ended."""
    if trial.state is TrialState.SUCCEEDED:
        return TrialEnd.VALUE, trial.value
    went_wrong = trial.cause is not None and trial.cause.reason in FAULTS_OF_VALUES
    return (TrialEnd.STOPPED if went_wrong or trial.state is TrialState.PRUNED else TrialEnd.NOTHING), None


def trials_failed(what: str, last: Trial | None) -> FailedPrecondition:
    """The error of a sweep that comes to nothing, with the cause of the last trial that failed."""
    cause = f"; the last, {last.training_job}, because {last.cause.message}" if last and last.cause else ""
    return FailedPrecondition(Reason.TRIALS_FAILED, f"{what}{cause}")
