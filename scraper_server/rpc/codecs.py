"""The methods that move much data, and how their messages are read and written."""

from flare.scraper.v1 import scraper_service_pb2 as pb

from servicekit.rpc.codecs import Codec
from servicekit.rpc.uploads import chunk_reader

CODECS = {
    "UploadDataset": Codec(read_request=chunk_reader(pb.UploadDatasetRequest)),
    "WriteUpload": Codec(read_request=chunk_reader(pb.WriteUploadRequest)),
}
