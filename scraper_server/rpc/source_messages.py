"""Searches, what sources offer, and people's credentials for them, as messages."""

from flare.scraper.v1 import scraper_service_pb2, source_pb2

from scraper_server.credentials.values import KeptCredentials
from scraper_server.rpc.enums import FILE_TYPE_OF, LICENSE_FAMILY_OF, SEARCH_SORT_OF, SOURCE_KIND
from scraper_server.sources.kaggle.credentials import AccessToken, ApiKey
from scraper_server.sources.search import Search
from scraper_server.sources.source import SourceDataset, SourceFile
from servicekit.rpc.jobs import timestamp_message


def search(request: scraper_service_pb2.SearchDatasetsRequest) -> Search:
    """What somebody looks for."""
    kept = request.filter
    return Search(
        words=request.query,
        file_type=FILE_TYPE_OF.get(kept.file_type),
        min_size_bytes=kept.min_size_bytes,
        max_size_bytes=kept.max_size_bytes,
        license=LICENSE_FAMILY_OF.get(kept.license),
        tags=tuple(kept.tags),
        publisher=kept.owner,
        sort=SEARCH_SORT_OF.get(request.sort),
    )


def source_dataset_message(found: SourceDataset) -> source_pb2.SourceDataset:
    """A data set that a source offers."""
    return source_pb2.SourceDataset(
        source=SOURCE_KIND[found.source],
        ref=found.ref,
        title=found.title,
        subtitle=found.subtitle,
        size_bytes=found.size_bytes,
        license=found.license,
        version=found.version,
        update_time=timestamp_message(found.update_time),
        download_count=found.download_count,
        vote_count=found.vote_count,
        url=found.url,
        tags=found.tags,
        is_private=found.is_private,
    )


def source_file_message(found: SourceFile) -> source_pb2.SourceFile:
    """A file of such a data set."""
    return source_pb2.SourceFile(
        path=found.path, size_bytes=found.size_bytes, create_time=timestamp_message(found.create_time)
    )


def credentials(request: scraper_service_pb2.SetSourceCredentialsRequest) -> ApiKey | AccessToken:
    """Credentials that somebody sets."""
    if request.WhichOneof("credentials") == "kaggle_api_key":
        return ApiKey(request.kaggle_api_key.username, request.kaggle_api_key.key)
    return AccessToken(request.kaggle_access_token)


def credentials_message(kept: KeptCredentials) -> source_pb2.SourceCredentials:
    """What is told of them."""
    return source_pb2.SourceCredentials(
        source=SOURCE_KIND[kept.source], account=kept.account, update_time=timestamp_message(kept.update_time)
    )
