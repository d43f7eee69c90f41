"""How soon a training starts, and how soon it ends when somebody cancels it."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

from flare.ml.v1 import training_job_pb2

from benchmarks.figures import Figure
from benchmarks.sizes import Sizes
from benchmarks.training_service import TrainingService, training_service

ENDLESS_EPOCHS = 1_000_000
SMALL_BATCH, LARGE_BATCH = 64, 8_192
# Between two measurements, so that a worker is warm again and another one is cancelled at any point of its loop.
PAUSE_SECONDS = 1.0


def submit_to_first_step(sizes: Sizes) -> Figure:
    """From the call of CreateTrainingJob to the event of the first step, with cached rows and a warm worker."""
    with training_service("mlp", sizes.submitted_rows, sizes) as service:
        service.start(SMALL_BATCH, 1).wait()  # fetches the rows
        value = statistics.median(_seconds_to_first_step(service) for _ in range(sizes.runs))
    return Figure.of_cost("submit_to_first_step", value, "s", "the limit with a warm worker", 0.3)


def cancel_latency(sizes: Sizes) -> Figure:
    """From the call of CancelTrainingJob to the final event: with small and large batches, and while it validates.

    The worker has ended by then. The figure is the slowest of the three medians.
    """
    with training_service("mlp", sizes.training_rows, sizes) as service:
        dataset = service.view.partition("/views/")[0]
        mostly_validating = service.flare.views.create(
            dataset, target="y", cast={"y": "categorical"}, split=(0.02, 0.96, 0.02), seed=1
        )
        validating = replace(service, view=mostly_validating.name)
        cases = [(service, SMALL_BATCH), (service, LARGE_BATCH), (validating, SMALL_BATCH)]
        medians = [
            statistics.median(_seconds_to_cancel(each, batch) for _ in range(sizes.runs)) for each, batch in cases
        ]
    return Figure.of_cost("cancel_latency", max(medians), "s", "the limit", 0.1)


def _seconds_to_first_step(service: TrainingService) -> float:
    model = service.fresh_model()
    time.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    job = service.flare.train(model, service.view, epochs=ENDLESS_EPOCHS, batch_size=SMALL_BATCH)
    events = job.events()
    _wait_for_first_step(events)
    seconds = time.perf_counter() - began
    job.cancel()
    for _ in events:
        pass
    return seconds


def _seconds_to_cancel(service: TrainingService, batch: int) -> float:
    job = service.start(batch, ENDLESS_EPOCHS)
    events = job.events()
    _wait_for_first_step(events)
    time.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    job.cancel()
    for _ in events:
        pass
    return time.perf_counter() - began


def _wait_for_first_step(events: Iterator[training_job_pb2.TrainingEvent]) -> None:
    for event in events:
        if event.WhichOneof("event") == "progress":
            return
