"""The work of a sweep: has trials trained as Optuna suggests, and makes the best one the model's next version."""

import asyncio
from typing import Any

from ml_server.registry.bundle import read_details
from ml_server.registry.store import ModelStore, no_such_model
from ml_server.registry.values import Model, ModelVersion, version_artifact
from ml_server.sweeps.events import (
    Story,
    TrialState,
    VersionCreated,
)
from ml_server.sweeps.jobs import read_story
from ml_server.sweeps.running_search import RunningSearch, trials_failed
from ml_server.sweeps.trials import Trials
from ml_server.sweeps.values import SweepSpec
from servicekit.artifacts import ArtifactStore
from servicekit.errors import FailedPrecondition, Unavailable
from servicekit.files import folder_bytes
from servicekit.jobs.runner import JobRun
from servicekit.jobs.store import JobStore
from servicekit.jobs.values import ClaimLost, LostAttempt


class SweepWork:
    """Does the work of one sweep after another; safe to call for several at a time."""

    def __init__(self, sweeps: JobStore, trials: Trials, models: ModelStore, artifacts: ArtifactStore) -> None:
        self._sweeps = sweeps
        self._trials = trials
        self._models = models
        self._artifacts = artifacts

    async def __call__(self, run: JobRun) -> dict[str, Any]:
        """Searches to the end and returns the sweep's result: the version that the best trial became, or none.

        A sweep that ends, however it does, leaves no trial that trains and no weights but those of its version.

        Raises:
            FlareError: The sweep can't succeed.
            LostAttempt: Another attempt may.
        """
        spec = SweepSpec.model_validate(run.job.spec)
        story = await read_story(self._sweeps, run.job)
        search = RunningSearch(run, spec, story, self._trials)
        try:
            await self._model(run, spec)
            await search.run()
            version = await self._crown(run, spec, search.story)
        except Unavailable as error:
            raise LostAttempt(error) from error
        except (ClaimLost, asyncio.CancelledError):  # another runner goes on, or this one when it is started again
            raise
        except Exception:
            await search.abandon()
            raise
        if version is None:
            await search.clear(keep=None)
            return {"version": ""}
        if not search.story.version:
            await search.emit(VersionCreated(version.name))
        await search.clear(keep=search.story.best)
        return {"version": version.name}

    async def _model(self, run: JobRun, spec: SweepSpec) -> Model:
        model = await self._models.get(run.job.owner, spec.training.model_id)
        if model.uid != spec.training.model_uid:
            raise no_such_model(spec.training.model_id)
        return model

    async def _crown(self, run: JobRun, spec: SweepSpec, story: Story) -> ModelVersion | None:
        """Makes the best trial a version, unless an attempt before a kill did so; None if none is wanted."""
        if run.finish_requested.is_set() and (story.best is None or not run.keeps_result):
            return None
        if story.best is None:
            raise _without_value(story)
        model = await self._model(run, spec)
        version = await self._models.version_of_job(model, story.best.training_job)
        if version is None:
            artifact = version_artifact(model.uid, story.best.training_job)
            files = await self._artifacts.fetch(artifact)
            details = await asyncio.to_thread(read_details, files)
            size = await asyncio.to_thread(folder_bytes, files)
            version = await self._models.add_version(model, details, size, artifact)
        return version


def _without_value(story: Story) -> FailedPrecondition:
    progress = story.progress()
    counted = ", ".join(f"{progress[state]} {state}" for state in ("pruned", "failed", "cancelled") if progress[state])
    failed = [trial for trial in story.trials.values() if trial.state is TrialState.FAILED]
    return trials_failed(
        f"none of the {len(story.trials)} trials came to a value ({counted})", failed[-1] if failed else None
    )
