"""A training as it goes on: a row for each epoch, and below them a bar that moves with the stream."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from flare.ml.v1 import training_job_pb2 as pb
from rich.console import Console
from rich.live import Live
from rich.text import Text

from flare_client.choices import short_name
from flare_client.cli.output import stderr, stdout
from flare_client.cli.reports import print_reports
from flare_client.cli.words import duration, quantity
from flare_client.errors import FlareError
from flare_client.history import Epoch, epoch_of, metrics_by_name

BAR_WIDTH = 20
SPARKS = " ▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉"
SPARKLINE_WIDTH = 40
SHOWN_METRICS = 2
HIDDEN_METRICS = ("loss",)
SHOWN_CLASSES = 20


class TrainingDisplay:
    """Shows the messages of a watch. Without a terminal it prints plain rows and nothing moves."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or stdout()
        self._live = Live(console=self._console, transient=True, auto_refresh=False, vertical_overflow="crop")
        self._metrics: list[str] | None = None
        self._first_loss = 0.0
        self._losses: list[float] = []
        self._is_interrupted = False

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, content: pb.TrainingJob | pb.TrainingEvent) -> None:
        """Shows a message."""
        if self._is_interrupted:
            self._is_interrupted = False
            self._note("[green]connected again[/]")
        if isinstance(content, pb.TrainingJob):
            return
        kind = content.WhichOneof("event")
        if kind is not None and kind in _SENTENCES:
            sentence = _SENTENCES[kind](content)
            if sentence:
                self._print(Text(sentence, style="dim"))
            print_reports(content.test_finished.reports, most=SHOWN_CLASSES, console=self._console)
        elif kind == "progress":
            self._show_progress(content.progress)
        elif kind == "epoch_finished":
            self._show_epoch(epoch_of(content.epoch_finished))

    def interrupted(self, cause: FlareError) -> None:
        """Says, once, that the stream broke and is taken up again; called for each try."""
        if not self._is_interrupted:
            self._is_interrupted = True
            self._note(f"[yellow]connection lost, going on as soon as possible:[/] {cause}")

    def _note(self, text: str) -> None:
        notes = self._console if self._console.is_terminal else stderr()
        notes.print(text, soft_wrap=True)

    def _show_epoch(self, epoch: Epoch) -> None:
        if self._metrics is None:
            self._metrics = [name for name in epoch.metrics if name not in HIDDEN_METRICS][:SHOWN_METRICS]
            self._first_loss = max(epoch.train_loss, epoch.validation_loss)
            heading = f"{'epoch':>5}  {'train loss':>10}  {'validation':>10}"
            heading += "".join(f"  {name:>{_width(name)}}" for name in self._metrics)
            self._print(Text(f"{heading}  {'rate':>8}  {'samples/s':>9}  loss", style="bold"))
        self._losses.append(epoch.validation_loss)
        row = Text(f"{epoch.epoch:>5}  {epoch.train_loss:>10.4f}  {epoch.validation_loss:>10.4f}")
        for name in self._metrics:
            row.append(f"  {epoch.metrics.get(name, float('nan')):>{_width(name)}.4f}", style="green")
        row.append(f"  {quantity(epoch.learning_rate):>8}  {epoch.samples_per_second:>9,.0f}  ")
        row.append(f"{_bar(epoch.validation_loss, self._first_loss):<{BAR_WIDTH}}", style="cyan")
        row.append(" best" if epoch.is_best else "", style="bold green")
        row.rstrip()
        self._print(row)

    def _show_progress(self, progress: pb.TrainingProgress) -> None:
        if not self._live.is_started:
            return
        steps = progress.epoch_steps / max(1, progress.total_epoch_steps)
        done = (progress.finished_epochs + steps) / max(1, progress.total_epochs)
        line = Text(f"epoch {min(progress.finished_epochs + 1, progress.total_epochs)}/{progress.total_epochs} ")
        line.append(f"{_bar(done, 1.0):<{BAR_WIDTH}}", style="magenta on grey23")
        line.append(f" step {progress.epoch_steps}/{progress.total_epoch_steps}  loss {progress.train_loss:.4f}")
        if progress.samples_per_second:
            line.append(f"  {progress.samples_per_second:,.0f} samples/s")
        if progress.HasField("remaining_time"):
            line.append(f"  {duration(progress.remaining_time.ToNanoseconds() / 1e9)} left")
        if self._losses:
            line.append(f"\nvalidation loss {_sparkline(self._losses)}", style="cyan")
        self._live.update(line, refresh=True)

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=not self._console.is_terminal)


def result_sentence(metrics: dict[str, float]) -> str:
    """`accuracy 0.9825, f1_macro 0.981, loss 0.05`: the test metrics in a line."""
    shown = sorted(metrics.items(), key=lambda item: item[0] == "loss")
    return ", ".join(f"{name} {value:.4f}" for name, value in shown)


def _started(event: pb.TrainingEvent) -> str:
    started = event.training_started
    rows = f"{started.train_rows:,} rows train, {started.validation_rows:,} validate, {started.test_rows:,} test"
    resumed = ""
    if started.resumed_epochs or started.resumed_epoch_steps:
        steps = f", step {started.resumed_epoch_steps}" if started.resumed_epoch_steps else ""
        resumed = f"; goes on after epoch {started.resumed_epochs}{steps}"
    return f"{started.parameter_count:,} parameters on {started.device}: {rows}{resumed}"


def _stopped_early(event: pb.TrainingEvent) -> str:
    return f"stopped after epoch {event.early_stopped.epoch}: no better since epoch {event.early_stopped.best_epoch}"


def _limited(event: pb.TrainingEvent) -> str:
    reached = event.limit_reached
    return f"stopped after {reached.steps:,} steps: limit of {short_name(pb.LimitReached.Kind, reached.kind)}"


def _tested(event: pb.TrainingEvent) -> str:
    return f"test rows, weights of epoch {event.test_finished.best_epoch}: " + result_sentence(
        metrics_by_name(event.test_finished.metrics)
    )


def _state(event: pb.TrainingEvent) -> str:
    change = event.state_changed
    return f"put back into the queue: {change.error.message}" if change.error.message and change.state == 1 else ""


_SENTENCES: dict[str, Callable[[pb.TrainingEvent], str]] = {
    "training_started": _started,
    "limit_reached": _limited,
    "early_stopped": _stopped_early,
    "test_finished": _tested,
    "state_changed": _state,
    "warning": lambda event: f"note: {event.warning.message}",
}


def _width(name: str) -> int:
    return max(8, len(name))


def _bar(value: float, full: float) -> str:
    """A bar of at most BAR_WIDTH characters, drawn in eighths."""
    share = min(1.0, value / full) if full > 0 and value == value else 0.0  # NaN
    eighths = round(share * BAR_WIDTH * 8)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8]).rstrip()


def _sparkline(values: list[float]) -> str:
    shown = values[-SPARKLINE_WIDTH:]
    low, high = min(shown), max(shown)
    scale = (len(SPARKS) - 2) / (high - low) if high > low else 0.0
    return "".join(SPARKS[1 + round((value - low) * scale)] if value == value else " " for value in shown)
