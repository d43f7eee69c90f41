"""Sweeps on the running services: trials, pruning, the version that the best one becomes, and what a sweep leaves."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import flare_client
import grpc
import pytest
from flare.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from flare.common.v1 import job_pb2
from flare.ml.v1 import sweep_pb2, sweep_service_pb2, sweep_service_pb2_grpc
from flare_client import FlareError, TrainingJobHandle, between
from flare_client.plans import training_plan
from flare_client.sweep_requests import Space, parameter_messages
from flare_client.sync.flare import Flare
from flare_client.trials import trial_state

from tests.services import FlareServices


@pytest.fixture(scope="module")
def flare(flare_services: FlareServices) -> Iterator[Flare]:
    with flare_client.connect(
        auth=flare_services.auth_address,
        scraper=flare_services.scraper_address,
        ml=flare_services.ml_address,
        username=flare_services.username,
        password=flare_services.password,
    ) as flare:
        yield flare


@pytest.fixture(scope="module")
def view(flare: Flare) -> str:
    name = f"s-{uuid4().hex[:8]}"
    flare.datasets.import_("breast-cancer", source="samples", dataset_id=name).wait()
    return flare.views.create(name, target="diagnosis", stratify="diagnosis", seed=1, view_id="main").name


def new_model(flare: Flare, view: str) -> str:
    model = f"m-{uuid4().hex[:8]}"
    flare.models.create(model, flare_client.mlp([8]), view=view)
    return model


def kept_files(services: FlareServices, flare: Flare, model: str) -> list[Path]:
    """The folders of weights that there are of a model, by whatever version or trial."""
    uid = flare.models.get(model).etag.rpartition("-")[0]
    (folder,) = services.data_dir.rglob(f"versions/{uid}")
    return sorted(folder.iterdir())


def test_the_best_of_six_trials_becomes_the_version_and_a_bad_one_is_pruned(
    flare_services: FlareServices, flare: Flare, view: str
) -> None:
    model = new_model(flare, view)
    space: Space = {"learning_rate": [0.01, 0.02, 1e-7], "optimizer": ["adam", "adamw"]}
    sweep = flare.sweeps.create(
        model,
        view,
        space,
        objective="auroc",
        sampler="grid",
        pruner={"median": {"startup_trials": 2}},
        epochs=20,
        engine="torch",
    )
    ended = list(sweep.watch())
    trials = sweep.trials()
    assert [trial.number for trial in trials] == [1, 2, 3, 4, 5, 6]
    assert {trial.number: trial for trial in ended} == {trial.number: trial for trial in trials}
    pruned = [trial for trial in trials if trial_state(trial) == "pruned"]
    assert [trial for trial in trials if trial.parameters["learning_rate"].double_value == 1e-7 and trial in pruned]

    best = sweep.result()
    succeeded = [trial for trial in trials if trial_state(trial) == "succeeded"]
    assert best == max(succeeded, key=lambda trial: (trial.value, -trial.number))
    version = sweep.wait()
    assert version.name == f"models/{model}/versions/1"
    assert [each.name for each in flare.models.versions(model)] == [version.name]
    assert [folder.name for folder in kept_files(flare_services, flare, model)] == [best.training_job.split("/")[1]]
    measured = {metric.name: metric.value for metric in version.validation_metrics}
    assert measured["auroc"] == best.value

    # The version's weights are those of an ordinary training by that plan.
    plain = flare.train(
        new_model(flare, view),
        view,
        epochs=20,
        engine="torch",
        learning_rate=best.parameters["learning_rate"].double_value,
        optimizer=best.parameters["optimizer"].string_value,
    )
    assert plain.wait().digest == version.digest
    job = flare.jobs.get_training(best.training_job).job
    assert (job.sweep, job.version, job.record.weights_digest) == (sweep.name, "", version.digest)
    rows = flare.datasets.to_dataframe(view, "test").drop(columns="diagnosis")
    assert len(flare.predict(model, rows)) == len(rows)


@pytest.mark.parametrize("keep_best", [False, True])
def test_a_cancelled_sweep_cancels_its_trials_and_keeps_its_best_if_asked(
    flare_services: FlareServices, flare: Flare, view: str, keep_best: bool
) -> None:
    model = new_model(flare, view)
    sweep = flare.sweeps.create(
        model,
        view,
        {"learning_rate": between(0.001, 0.1, log=True)},
        parallel_trials=2,
        epochs=1_000_000,
        engine="torch",
    )
    running = list[TrainingJobHandle]()
    for event in sweep.events():
        if event.HasField("trial_started"):
            running.append(flare.jobs.get_training(event.trial_started.training_job))
        if len(running) == 2:
            break
    with pytest.raises(FlareError, match=f"is needed by '{sweep.name}'"):
        flare.models.delete(model)
    for job in running:
        next(iter(job.epochs()))
    sweep.cancel(keep_best=keep_best)
    with pytest.raises(FlareError, match="was cancelled"):
        sweep.wait()
    assert {job.refresh().state for job in running} == {job_pb2.JOB_STATE_CANCELLED}
    trials = sweep.trials()
    if keep_best:
        assert [trial_state(trial) for trial in trials] == ["succeeded", "succeeded"]
        assert sweep.sweep.version == f"models/{model}/versions/1"
        assert sweep.sweep.best_trial.value == min(trial.value for trial in trials)
        best = sweep.sweep.best_trial.training_job.split("/")[1]
        assert [folder.name for folder in kept_files(flare_services, flare, model)] == [best]
    else:
        assert [trial_state(trial) for trial in trials] == ["cancelled", "cancelled"]
        assert sweep.sweep.version == ""
        assert flare.models.versions(model) == []
    flare.models.delete(model)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"learning_rat": [0.1]}, r"parameter 'learning_rat': .* did you mean learning_rate\?"),
        ({"learning_rate": [0.1, 200.0]}, r"parameter 'learning_rate': value 200.0 makes no valid plan: learning_rate"),
        ({"batch_size": between(0, 64)}, r"parameter 'batch_size': value 0 makes no valid plan: batch_size"),
        ({"optimizer.sgd.momentum": [0.9]}, r"parameter 'optimizer.sgd.momentum': no trial has the optimizer sgd"),
        ({"precision": ["float16"]}, r"parameter 'precision': value 'float16' .* needs a CUDA device"),
        ({"schedule": ["step"]}, r"parameter 'schedule': value 'step' makes no valid plan: schedule.step.epochs"),
    ],
)
def test_a_parameter_that_makes_no_plan_is_refused_by_its_name(
    flare: Flare, view: str, space: Space, message: str
) -> None:
    model = new_model(flare, view)
    with pytest.raises(FlareError, match=message) as refused:
        flare.sweeps.create(model, view, space, device="cpu")
    assert refused.value.violations[0].field == "sweep.parameters[0]"


def test_an_objective_that_the_target_does_not_have_is_refused(flare: Flare, view: str) -> None:
    with pytest.raises(FlareError, match="target 'diagnosis' has no metric 'r2': take validation_loss or one of"):
        flare.sweeps.create(new_model(flare, view), view, {"learning_rate": [0.1]}, objective="r2")


@pytest.fixture(scope="module")
def stub(flare_services: FlareServices) -> Iterator[sweep_service_pb2_grpc.SweepServiceStub]:
    """Calls the service as other programs do."""
    with grpc.insecure_channel(flare_services.auth_address) as channel:
        login = auth_service_pb2.LoginRequest(username=flare_services.username, password=flare_services.password)
        token = auth_service_pb2_grpc.AuthServiceStub(channel).Login(login).access_token
    credentials = grpc.composite_channel_credentials(
        grpc.local_channel_credentials(), grpc.access_token_call_credentials(token)
    )
    with grpc.secure_channel(flare_services.ml_address, credentials) as channel:
        yield sweep_service_pb2_grpc.SweepServiceStub(channel)


def test_a_sweep_is_checked_only_made_once_and_told_in_pages(
    flare: Flare, view: str, stub: sweep_service_pb2_grpc.SweepServiceStub
) -> None:
    sweep = sweep_pb2.Sweep(
        model=f"models/{new_model(flare, view)}",
        view=view,
        plan=training_plan({"epochs": 2, "engine": "torch"}),
        parameters=parameter_messages({"learning_rate": [0.1, 0.01, 0.001], "batch_size": [64]}),
        grid=sweep_pb2.GridSampler(points=4),
    )
    checked = stub.CreateSweep(sweep_service_pb2.CreateSweepRequest(sweep=sweep, validate_only=True))
    assert (checked.name, checked.max_trials, checked.grid.points) == ("", 3, 4)
    assert checked.model not in [each.sweep.model for each in flare.sweeps.list()]

    request = sweep_service_pb2.CreateSweepRequest(sweep=sweep, request_id=str(uuid4()))
    name = stub.CreateSweep(request).name
    assert stub.CreateSweep(request).name == name
    handle = flare.sweeps.get(name)
    events = list(handle.events())
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))

    listed = stub.ListSweepEvents(sweep_service_pb2.ListSweepEventsRequest(name=name, page_size=1000))
    assert (list(listed.events), listed.is_complete) == (events, True)
    some = stub.ListSweepEvents(sweep_service_pb2.ListSweepEventsRequest(name=name, after_sequence=2, page_size=3))
    assert (list(some.events), some.is_complete) == (events[2:5], False)
    first = stub.ListSweepTrials(sweep_service_pb2.ListSweepTrialsRequest(parent=name, page_size=2))
    assert [trial.number for trial in first.trials] == [1, 2]
    rest = sweep_service_pb2.ListSweepTrialsRequest(parent=name, page_size=2, page_token=first.next_page_token)
    page = stub.ListSweepTrials(rest)
    assert ([trial.number for trial in page.trials], page.next_page_token) == ([3], "")
    assert handle.history()["state"].tolist() == ["succeeded"] * 3
    with pytest.raises(grpc.RpcError, match="lies beyond"):
        list(stub.WatchSweep(sweep_service_pb2.WatchSweepRequest(name=name, after_sequence=1_000)))
    for missing in ("sweeps/none", f"{name}x"):
        with pytest.raises(grpc.RpcError, match=f"no job '{missing}'"):
            stub.GetSweep(sweep_service_pb2.GetSweepRequest(name=missing))
