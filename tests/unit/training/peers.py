"""Workers that train together, as processes of this machine. They meet in a file, and listen on `lo` alone."""

import multiprocessing
import os
import pickle
import uuid
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from ml_server.training.executors.warm_workers import PRELOADED


def together(directory: Path, workers: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(*arguments)` returns in each of so many processes, or the exception that it raises, by their rank."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    meeting = directory / uuid.uuid4().hex
    pipes = [context.Pipe(duplex=False) for _ in range(workers)]
    processes = [
        context.Process(target=_join, args=(meeting, rank, workers, ours, work, arguments), daemon=True)
        for rank, (_, ours) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    for _, theirs in pipes:
        theirs.close()
    results = [_received(mine) for mine, _ in pipes]
    for process in processes:
        process.join()
    return results


def _received(connection: Connection) -> Any:
    """None of a process that died."""
    try:
        return pickle.loads(connection.recv_bytes())
    except EOFError:
        return None


def _join(
    meeting: Path, rank: int, workers: int, answer: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers)
    try:
        result = work(*arguments)
    except Exception as error:
        result = error
    answer.send_bytes(pickle.dumps(result))  # torch would lend memory of a process that ends
    # Without a word to the others, as a process ends that is killed.
    os._exit(0)
