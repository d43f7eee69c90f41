"""Figures as people read them."""

from __future__ import annotations

from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp


def byte_size(size: float) -> str:
    """`1.2 MB`; empty for 0, which means that nobody knows."""
    if size <= 0:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def quantity(value: float) -> str:
    """At most five digits that matter."""
    return f"{value:.5g}"


def moment(time: Timestamp) -> str:
    """`2025-03-01 12:30`, in this machine's time zone; empty if it was never set."""
    if time.seconds == 0 and time.nanos == 0:
        return ""
    return time.ToDatetime(tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """`0:07`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
