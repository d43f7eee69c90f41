"""Rows are transformed once, some at a time, and shared by all jobs on them."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest
import torch

from ml_server.networks.kinds import Encoding
from ml_server.training import preparation
from ml_server.training.preparation import Prepared, prepare
from ml_server.training.rows import Rows
from ml_server.training.task import TrainingTask
from ml_server.views import part_files
from ml_server.views.folder_cache import FolderCache
from servicekit.errors import FlareError, Reason
from tests.unit.training.test_worker import breast_cancer, mixed_table, mixed_task  # noqa: F401  # fixtures


def folders(task: TrainingTask) -> list[str]:
    return [each.name for each in task.cache.root.iterdir() if each.name != ".locks"]


def train_features(prepared: Prepared) -> torch.Tensor:
    assert isinstance(prepared.train, Rows)
    return prepared.train.features


def assert_alike(one: Prepared, other: Prepared) -> None:
    for mine, its in ((one.train, other.train), (one.validation, other.validation), (one.test, other.test)):
        assert isinstance(mine, Rows)
        assert isinstance(its, Rows)
        torch.testing.assert_close(mine.features, its.features)
        for truth, same in zip(mine.targets, its.targets, strict=True):
            torch.testing.assert_close(truth, same)


@pytest.mark.parametrize("most", [1, 7, 100])
def test_rows_prepared_some_at_a_time_are_those_prepared_at_once(
    tmp_path: Path,
    mixed_table: Callable[[int], pa.Table],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    most: int,
) -> None:
    task = mixed_task(tmp_path, mixed_table(500))
    whole = prepare(task)
    monkeypatch.setattr(part_files, "CHUNK_ROWS", most)
    pieces = prepare(replace(task, cache=FolderCache(tmp_path / "other", 10**9)))
    kinds = [column.encoding.kind for column in pieces.features.columns]
    assert kinds == ["number", "category", "category", "time", "number"]
    assert pieces.features.layout == whole.features.layout
    assert pieces.warnings == whole.warnings
    assert_alike(pieces, whole)


def test_rows_are_prepared_once(breast_cancer: TrainingTask, tmp_path: Path) -> None:  # noqa: F811
    task = replace(breast_cancer, cache=FolderCache(tmp_path / "cache", 10**9))
    first = prepare(task)
    again = prepare(replace(task, files={}))  # nothing is read of the view's own files
    assert_alike(first, again)
    assert len(folders(task)) == 1
    train, other = train_features(first), train_features(again)
    train[0, 0] = 1e9  # jobs see nothing of what another one writes
    assert other[0, 0] != 1e9


def test_other_specifications_have_other_rows(breast_cancer: TrainingTask, tmp_path: Path) -> None:  # noqa: F811
    task = replace(breast_cancer, cache=FolderCache(tmp_path / "cache", 10**9))
    asked = task.specification.preprocessing.model_copy(update={"numeric_encoding": Encoding.MIN_MAX})
    other = replace(task, specification=task.specification.model_copy(update={"preprocessing": asked}))
    assert train_features(prepare(task)).min() < 0
    assert train_features(prepare(other)).min() == 0
    assert len(folders(task)) == 2


def _prepared_rows(task: TrainingTask) -> tuple[int, int]:
    """How often this process prepares them, and how many there are."""
    with mock.patch.object(preparation, "_make", wraps=preparation._make) as make:
        rows = prepare(task).train
    return make.call_count, len(rows)


def test_processes_that_begin_together_prepare_once(breast_cancer: TrainingTask, tmp_path: Path) -> None:  # noqa: F811
    task = replace(breast_cancer, cache=FolderCache(tmp_path / "cache", 10**9))
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as processes:
        done = list(processes.map(_prepared_rows, [task] * 4))
    assert sorted(done) == [(0, 342), (0, 342), (0, 342), (1, 342)]


def test_an_end_in_the_middle_leaves_nothing(breast_cancer: TrainingTask, tmp_path: Path) -> None:  # noqa: F811
    task = replace(breast_cancer, cache=FolderCache(tmp_path / "cache", 10**9))
    calls = 0

    def end() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(task, end)
    assert folders(task) == []


def test_features_that_are_more_than_the_cache_may_keep_are_refused(
    breast_cancer: TrainingTask,  # noqa: F811
    tmp_path: Path,
) -> None:
    task = replace(breast_cancer, cache=FolderCache(tmp_path / "cache", 50_000))
    with pytest.raises(FlareError, match=r"the features of view 'datasets/b/views/v' takes? about .* fewer") as caught:
        prepare(task)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED
    assert folders(task) == []
