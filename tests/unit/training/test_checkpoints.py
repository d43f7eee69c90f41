"""Checkpoints of a job: the newest that can be read wins, and no more than two are kept."""

from pathlib import Path

import pytest
import torch

from ml_server.training.checkpoints import Checkpoints


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


def saved(checkpoints: Checkpoints, *epochs: int) -> list[Path]:
    """The files after these epochs were saved, newest first."""
    for epoch in epochs:
        checkpoints.save(epoch, 0, {"epoch": epoch, "weights": torch.full((3,), float(epoch))})
    return sorted(checkpoints.directory.iterdir(), reverse=True)


def test_without_any_there_is_nothing_to_load(checkpoints: Checkpoints) -> None:
    assert checkpoints.load_newest() == (None, [])


def test_the_newest_comes_back_as_it_was_saved(checkpoints: Checkpoints) -> None:
    size = checkpoints.save(9, 0, {"epoch": 9, "weights": torch.arange(3.0)})
    state, problems = checkpoints.load_newest()
    assert state is not None
    assert problems == []
    assert state["epoch"] == 9
    assert torch.equal(state["weights"], torch.arange(3.0))
    assert size == next(checkpoints.directory.iterdir()).stat().st_size


def test_two_are_kept_by_number_and_not_by_letter(checkpoints: Checkpoints) -> None:
    files = saved(checkpoints, 1, 2, 9, 10, 100)
    assert [file.name for file in files] == ["00000100-0000000000.pt", "00000010-0000000000.pt"]
    state, _ = checkpoints.load_newest()
    assert state is not None
    assert state["epoch"] == 100


def test_one_within_an_epoch_is_newer_than_that_of_its_beginning(checkpoints: Checkpoints) -> None:
    for epoch, steps in ((1, 0), (1, 90), (1, 1000), (2, 0), (2, 7)):
        checkpoints.save(epoch, steps, {"at": (epoch, steps)})
        state, _ = checkpoints.load_newest()
        assert state == {"at": (epoch, steps)}


@pytest.mark.parametrize("left", [0, 1, 500])
def test_a_damaged_one_is_told_and_the_one_before_is_taken(checkpoints: Checkpoints, left: int) -> None:
    newest, _ = saved(checkpoints, 4, 5)
    newest.write_bytes(newest.read_bytes()[:left])
    state, problems = checkpoints.load_newest()
    assert state is not None
    assert state["epoch"] == 4
    assert len(problems) == 1
    assert problems[0].startswith("checkpoint 00000005-0000000000 can't be read: ")


def test_when_all_are_damaged_training_starts_anew(checkpoints: Checkpoints) -> None:
    for file in saved(checkpoints, 4, 5):
        file.write_bytes(b"no checkpoint")
    state, problems = checkpoints.load_newest()
    assert state is None
    assert len(problems) == 2


def test_a_file_that_runs_code_when_it_is_read_is_not_read(checkpoints: Checkpoints, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (tmp_path / "harm",))

    checkpoints.directory.mkdir()
    torch.save({"harm": Harm()}, checkpoints.directory / "00000001-0000000000.pt")
    state, problems = checkpoints.load_newest()
    assert state is None
    assert len(problems) == 1
    assert not (tmp_path / "harm").exists()


def test_a_checkpoint_that_can_not_be_written_leaves_the_ones_before(checkpoints: Checkpoints) -> None:
    saved(checkpoints, 1)
    with pytest.raises(Exception, match="lambda"):
        checkpoints.save(2, 0, {"not to be pickled": lambda: None})
    assert [file.name for file in checkpoints.directory.iterdir()] == ["00000001-0000000000.pt"]
