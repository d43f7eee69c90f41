"""Faults of a model, its data or its plan fail a training at once, with a reason and the step."""

import resource
from dataclasses import replace
from multiprocessing.connection import Connection

import psutil

from ml_server.networks.kinds import Normalization
from ml_server.networks.specification import MlpSpecification, ModelSpecification
from ml_server.training.events import TrainingStarted
from ml_server.training.executors.warm_workers import Entry, Worker
from ml_server.training.plans import Sgd
from ml_server.training.stop import Stop
from ml_server.training.task import Failed, Told, TrainingTask
from ml_server.training.worker_process import messages
from servicekit.errors import FlareError, Reason
from tests.unit.training.test_worker import breast_cancer, task  # noqa: F401  # fixtures

WIDE = ModelSpecification(architecture=MlpSpecification(hidden_units=(4000, 4000)))  # weights of 64 MB
# Weights of 576 MB: more than a training before it has left to be used again.
WIDER = ModelSpecification(architecture=MlpSpecification(hidden_units=(12_000, 12_000)))
LEFT_BYTES = 48 * 1024**2


def fault(task: TrainingTask) -> FlareError:  # noqa: F811
    *_, last = messages(task, Stop())
    assert isinstance(last, Failed), last
    return last.error


def test_a_loss_that_is_no_number_names_the_step(task: TrainingTask) -> None:  # noqa: F811
    plan = task.plan.model_copy(update={"learning_rate": 1e30, "optimizer": Sgd()})
    error = fault(replace(task, plan=plan))
    assert (error.reason, error.metadata) == (Reason.TRAINING_DIVERGED, {"epoch": "1", "step": "2"})


def test_shapes_that_a_step_can_not_take_name_it(task: TrainingTask) -> None:  # noqa: F811
    architecture = MlpSpecification(hidden_units=(8,), normalization=Normalization.BATCH)
    plan = task.plan.model_copy(update={"batch_size": 1})
    error = fault(replace(task, specification=ModelSpecification(architecture=architecture), plan=plan))
    assert (error.reason, error.metadata) == (Reason.STEP_FAILED, {"epoch": "1", "step": "1"})
    assert "at step 1 of epoch 1: Expected more than 1 value per channel" in error.message


def _limit_memory() -> None:
    most = psutil.Process().memory_info().vms + LEFT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def _short_of_memory_for_a_step(connection: Connection) -> None:
    task: TrainingTask = connection.recv()  # noqa: F811
    for message in messages(task, Stop()):
        connection.send(message)
        if isinstance(message, Told) and isinstance(message.events[0], TrainingStarted):
            _limit_memory()


def _short_of_memory_for_the_network(connection: Connection) -> None:
    task: TrainingTask = connection.recv()  # noqa: F811
    list(messages(replace(task, plan=task.plan.model_copy(update={"epochs": 1})), Stop()))  # all is imported then
    _limit_memory()
    for message in messages(replace(task, specification=WIDER), Stop()):
        connection.send(message)


def last_words(entry: Entry, task: TrainingTask) -> FlareError:  # noqa: F811
    worker = Worker.start(entry)
    assert worker.give(task)
    while isinstance(message := worker.connection.recv(), Told):
        pass
    worker.dismiss()
    assert isinstance(message, Failed), message
    return message.error


def test_too_little_memory_for_a_step_names_it(task: TrainingTask) -> None:  # noqa: F811
    error = last_words(_short_of_memory_for_a_step, replace(task, specification=WIDE))
    assert (error.reason, error.metadata) == (Reason.OUT_OF_MEMORY, {"epoch": "1", "step": "1"})
    assert "at step 1 of epoch 1: take a smaller batch_size or model" in error.message


def test_too_little_memory_for_the_network_is_told_too(task: TrainingTask) -> None:  # noqa: F811
    error = last_words(_short_of_memory_for_the_network, task)
    assert (error.reason, error.metadata) == (Reason.OUT_OF_MEMORY, {})
