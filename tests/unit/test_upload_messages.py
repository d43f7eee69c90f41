"""Chunks are read without protobuf, and nothing else is."""

import pytest
from flare.scraper.v1 import scraper_service_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from servicekit.rpc.uploads import Chunk, chunk_reader

READ = chunk_reader(pb.UploadDatasetRequest)
LONGEST = 1 << 20


@given(st.binary(max_size=300), st.sampled_from([0, 1, 127, 128, 16_383, 16_384, LONGEST - 300]))
def test_a_chunk_is_what_protobuf_reads(end: bytes, more: int) -> None:
    content = bytes(more) + end
    read = READ(pb.UploadDatasetRequest(chunk=content).SerializeToString())
    assert isinstance(read, Chunk)
    assert read.WhichOneof("message") == "chunk"
    assert bytes(read.chunk) == content


@pytest.mark.parametrize(
    "message",
    [
        pb.UploadDatasetRequest(),
        pb.UploadDatasetRequest(header=pb.UploadHeader(file_name="a", size_bytes=3)),
        pb.UploadDatasetRequest(chunk=bytes(LONGEST + 1)),  # for the rules to refuse
    ],
)
def test_all_other_messages_are_protobufs(message: pb.UploadDatasetRequest) -> None:
    assert READ(message.SerializeToString()) == message


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_a_message_with_two_fields_is_read_as_protobuf_does(first: bytes, second: bytes) -> None:
    parts = [pb.UploadDatasetRequest(chunk=each).SerializeToString() for each in (first, second)]
    read = READ(b"".join(parts))
    assert read == pb.UploadDatasetRequest(chunk=second)


@given(st.binary(max_size=30))
def test_any_bytes_are_read_as_protobuf_does_or_refused_by_it(data: bytes) -> None:
    try:
        expected = pb.UploadDatasetRequest.FromString(data)
    except Exception as error:
        with pytest.raises(type(error)):
            READ(data)
        return
    read = READ(data)
    assert (bytes(read.chunk) if isinstance(read, Chunk) else read.chunk) == expected.chunk
