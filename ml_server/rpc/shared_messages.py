"""Messages of events that many watchers are sent, made once."""

from flare.ml.v1 import training_service_pb2

from ml_server.rpc.training_converters import watch_message
from servicekit.jobs.follow import Heartbeat
from servicekit.jobs.values import Event, Job

KEPT_MESSAGES = 2_000


class SharedMessages:
    """Keeps the newest messages. An event of a job never changes, and each watcher only serialises its message."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], training_service_pb2.WatchTrainingJobResponse] = {}

    def of(self, job_id: str, message: Job | Event | Heartbeat) -> training_service_pb2.WatchTrainingJobResponse:
        """What a watcher of a job is sent; not to be changed."""
        if not isinstance(message, Event) or message.coalesced_from:
            return watch_message(message)
        key = (job_id, message.sequence)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = watch_message(message)
            if len(self._kept) > KEPT_MESSAGES:
                del self._kept[next(iter(self._kept))]
        return kept
