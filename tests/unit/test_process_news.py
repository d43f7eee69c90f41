"""Processes tell each other to look again: over real sockets, all in one process."""

import asyncio
import socket

from servicekit.processes.news import News
from servicekit.processes.shared_wakeups import shared_wakeups

WAIT_SECONDS = 30.0


class Process:
    """What a process has of news: wakeups that are told to others."""

    def __init__(self) -> None:
        self.news = News()
        self.wakeups = shared_wakeups(self.news)


def link() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


async def test_a_wakeup_rings_in_all_processes_whichever_it_comes_from() -> None:
    first, others = Process(), [Process(), Process()]
    links = [link() for _ in others]
    for other, (ours, theirs) in zip(others, links, strict=True):
        first.news.join(ours)
        other.news.join(theirs)
    everybody = [first, *others]
    for teller in everybody:
        for topic in ("job-1", ""):
            for hearer in everybody:
                with hearer.wakeups.subscribed(topic) as bell:
                    teller.wakeups.notify(topic)
                    assert await bell.wait_at_most(WAIT_SECONDS)
    for other, (ours, theirs) in zip(others, links, strict=True):
        first.news.leave(ours)
        other.news.leave(theirs)


async def test_whoever_does_not_listen_keeps_nobody_waiting() -> None:
    news = News()
    ours, theirs = link()
    news.join(ours)
    for _ in range(10_000):  # more than the socket holds
        news.tell("jobs", "a-job")
    theirs.close()
    news.tell("jobs", "a-job")
    news.leave(ours)


async def test_the_end_of_a_process_is_told_once() -> None:
    news, ended = News(), asyncio.Event()
    ours, theirs = link()
    news.join(ours, ended.set)
    theirs.close()
    async with asyncio.timeout(WAIT_SECONDS):
        await ended.wait()
    assert ours.fileno() == -1
    news.leave(ours)
