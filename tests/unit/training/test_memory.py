"""How much memory a training gets by with."""

from pathlib import Path

import pytest

from ml_server.training import memory
from ml_server.training.memory import Memory, machine_memory


def test_the_operators_word_counts() -> None:
    assert Memory(123, jobs=4).job_bytes == 123


def test_half_of_the_machine_is_shared_out_among_the_jobs() -> None:
    assert Memory("auto", jobs=4).job_bytes == pytest.approx(machine_memory() / 8, abs=1)


@pytest.mark.parametrize(("limits", "expected"), [(["1000000"], 1_000_000), (["max", "5000000\n"], 5_000_000)])
def test_a_container_has_what_its_limit_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: list[str], expected: int
) -> None:
    files = [tmp_path / str(at) for at in range(len(limits))]
    for file, limit in zip(files, limits, strict=True):
        file.write_text(limit)
    monkeypatch.setattr(memory, "LIMITS", (*files, tmp_path / "missing"))
    assert machine_memory() == expected


def test_no_limit_leaves_the_whole_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "limit").write_text("max")
    monkeypatch.setattr(memory, "LIMITS", (tmp_path / "limit",))
    assert machine_memory() > 1 << 28
