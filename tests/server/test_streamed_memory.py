"""A view of several gigabytes trains in a worker that holds less than 2 GiB."""

import pytest

from benchmarks.sizes import GIGABYTE, Sizes
from benchmarks.streamed_training import MEMORY_BYTES, streamed_training_memory


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_a_worker_keeps_to_its_memory_whatever_the_size_of_the_view() -> None:
    assert streamed_training_memory(Sizes(streamed_bytes=4 * GIGABYTE)).value < MEMORY_BYTES
