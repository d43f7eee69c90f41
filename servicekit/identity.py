"""Who is calling: bound once a call by the token interceptor, read by whoever needs the owner."""

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

# A service that holds this scope may act for the owner named in the metadata of its call.
DELEGATE_SCOPE = "auth.delegate"
SUBJECT_METADATA = "flare-subject"


@dataclass(frozen=True)
class Caller:
    """A verified caller. `subject` owns what the call makes; `token` and `expire_time` (UTC) are its access token's."""

    subject: str
    scopes: frozenset[str]
    token: str
    expire_time: datetime


_caller: ContextVar[Caller] = ContextVar("flare_caller")


def bind_caller(caller: Caller) -> None:
    """Makes `caller` the current one in this task and in the tasks it starts. Each call has a task of its own."""
    _caller.set(caller)


def current_caller() -> Caller:
    """Returns who is calling.

    Raises:
        LookupError: Nothing is bound, since the code runs outside a call or in a public method.
    """
    return _caller.get()
