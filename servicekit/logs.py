"""Structured logs: an event name with fields, on standard error."""

import logging
import sys
from contextvars import ContextVar
from typing import Any, Literal, Protocol

import structlog

from servicekit.settings import ServerSettings


class Peer(Protocol):
    """What knows who is at the other end of a call."""

    def peer(self) -> str:
        """The address, as gRPC writes it."""
        ...


_call: ContextVar[tuple[str, Peer]] = ContextVar("flare_call")


def bind_call(method: str, peer: Peer) -> None:
    """What is logged in this task, and in the tasks that it starts, is said to belong to this call."""
    _call.set((method, peer))


def _add_call(_logger: Any, _name: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Adds the call to an entry. Few calls log anything, so the peer's address is written here and not at the start."""
    method, peer = _call.get(("", None))
    if peer is not None:
        entry["rpc"], entry["peer"] = method, peer.peer()
    return entry


def configure_logs(settings: ServerSettings, service: str) -> None:
    """Sends our entries and those of libraries to standard error in the settings' form; called once, at the start."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_call,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer = _renderer(settings.log_format)
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)


def _renderer(log_format: Literal["json", "console"]) -> list[structlog.typing.Processor]:
    if log_format == "console":
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
