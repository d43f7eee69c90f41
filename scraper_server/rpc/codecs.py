"""The methods that move much data, and how their messages are read and written."""

from flare.scraper.v1 import scraper_service_pb2 as pb

from scraper_server.rpc.view_stream import written
from servicekit.rpc.codecs import Codec
from servicekit.rpc.uploads import chunk_reader

CODECS = {
    "StreamView": Codec(write_response=written),
    "UploadDataset": Codec(read_request=chunk_reader(pb.UploadDatasetRequest)),
    "WriteUpload": Codec(read_request=chunk_reader(pb.WriteUploadRequest)),
}
