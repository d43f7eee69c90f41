"""Rows that are moved to a device batch by batch come as those that lie there do."""

from pathlib import Path

import pytest
import torch

from ml_server.training.moved_rows import MovedRows, on_device
from ml_server.training.rows import Rows
from ml_server.training.streamed_rows import StreamedRows
from tests.unit.training.test_streamed_rows import stored

CPU = torch.device("cpu")


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("kind", ["in memory", "in files"])
@pytest.mark.parametrize(("size", "skipped"), [(1, 0), (32, 0), (32, 3), (250, 1), (999, 0), (2_000, 0)])
def test_batches_are_those_of_the_source(tmp_path: Path, kind: str, size: int, skipped: int, *, weighted: bool) -> None:
    files = stored(tmp_path, 1000, is_weighted=weighted)
    source = files.mapped() if kind == "in memory" else StreamedRows(files, 8_000)
    moved = MovedRows(source, CPU)
    assert (len(moved), moved.width, moved.device) == (1000, 3, CPU)
    assert torch.equal(torch.stack(moved.targets), torch.stack(source.targets))
    seeds = [torch.Generator().manual_seed(3) for _ in range(2)]
    same = [
        (moved.batches(size), source.batches(size)),
        (moved.shuffled_batches(size, seeds[0], skipped), source.shuffled_batches(size, seeds[1], skipped)),
    ]
    for found, expected in same:
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one.features, other.features)
            assert torch.equal(torch.stack(one.targets), torch.stack(other.targets))
            assert (one.weights is None) == (other.weights is None) == (not weighted)
    assert torch.equal(seeds[0].get_state(), seeds[1].get_state())


@pytest.mark.parametrize(("free", "is_resident"), [(48, False), (95, False), (96, True), (10**9, True)])
def test_rows_lie_on_a_gpu_if_half_of_its_free_memory_takes_them(
    monkeypatch: pytest.MonkeyPatch, free: int, *, is_resident: bool
) -> None:
    gpu = torch.device("cuda:0")
    rows = Rows(torch.zeros(3, 2), (torch.zeros(3, dtype=torch.int64),))  # 48 bytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**12))
    moved: list[torch.device] = []
    monkeypatch.setattr(Rows, "to", lambda rows, device: moved.append(device))
    found = on_device(rows, gpu)
    assert (moved == [gpu], isinstance(found, MovedRows)) == (is_resident, not is_resident)
