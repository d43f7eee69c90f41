"""Answers that are framed by hand are what the generated class would write."""

import pyarrow as pa
import pytest
from flare.scraper.v1 import scraper_service_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from scraper_server.rpc.view_stream import written
from scraper_server.views.batches import EncodedBatch


def assert_the_same(index: int, row_count: int, message: bytes) -> None:
    framed = written(EncodedBatch(index, row_count, pa.py_buffer(message)))
    batch = pb.ViewBatch(index=index, row_count=row_count, arrow_batch=message)
    assert framed == pb.StreamViewResponse(batch=batch).SerializeToString(deterministic=True)
    assert pb.StreamViewResponse.FromString(framed).batch == batch


@given(index=st.integers(0, 2**63 - 1), row_count=st.integers(0, 2**63 - 1), message=st.binary(min_size=1))
def test_any_batch(index: int, row_count: int, message: bytes) -> None:
    assert_the_same(index, row_count, message)


@pytest.mark.parametrize("size", [1, 0x7F, 0x80, 0x3FFF, 0x4000, (1 << 20) - 20, 1 << 20, 0x1FFFFF, 0x200000, 8 << 20])
def test_sizes_at_which_a_length_grows(size: int) -> None:
    for more in range(-14, 15):
        if size + more > 0:
            assert_the_same(0, 1, bytes(size + more))
