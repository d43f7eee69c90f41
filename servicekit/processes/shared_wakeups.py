"""Wakeups that ring in all processes of a service."""

from functools import partial

from servicekit.jobs.wakeups import Wakeups
from servicekit.processes.news import News

KIND = "jobs"


def shared_wakeups(news: News) -> Wakeups:
    """Those of this process, which ring with those of the others."""
    wakeups = Wakeups(partial(news.tell, KIND))
    news.hear(KIND, wakeups.ring)
    return wakeups
