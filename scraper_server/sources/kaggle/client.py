"""The `kaggle` package as Flare uses it: a few calls, with our credentials, time limits and nothing printed.

The package authenticates on import, looks for credentials in the environment and the home folder at each new client,
has no time limits, follows redirects into the response parser, and prints. All of that is settled here.
"""

import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import requests
from requests.adapters import HTTPAdapter

from scraper_server.sources.kaggle.accounts import Account, Whose
from scraper_server.sources.kaggle.credentials import AccessToken, ApiKey, Credentials
from scraper_server.sources.kaggle.failures import Question, rejected, translated
from scraper_server.sources.kaggle.options import KaggleOptions
from scraper_server.sources.search import FileType, LicenseFamily, Search

# The package's words.
FILE_TYPES = {
    FileType.CSV: "csv",
    FileType.SQLITE: "sqlite",
    FileType.JSON: "json",
    FileType.BIGQUERY: "bigQuery",
    FileType.PARQUET: "parquet",
}
LICENSES = {
    LicenseFamily.CREATIVE_COMMONS: "cc",
    LicenseFamily.GPL: "gpl",
    LicenseFamily.OPEN_DATABASE: "odb",
    LicenseFamily.OTHER: "other",
}

# No answer of the API is near this.
READ_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 64 * 1024 * 1024

_importing = threading.Lock()


class KaggleClient:
    """Calls Kaggle's API, as the account that each call is given; it keeps none.

    Blocking and safe to share between threads: each call has a connection of its own.
    """

    def __init__(self, options: KaggleOptions) -> None:
        self._options = options

    def search(self, account: Account, search: Search, size: int, token: str) -> Any:
        """A page of data sets, the package's `ApiListDatasetsResponse`. Raises FlareError."""
        # Only who asks for their own data sets is shown the private ones among them.
        mine = account.owns(search.publisher)
        with translated(Question(_search_name(search), account, has_cursor=bool(token))):
            return self._api(account.credentials).dataset_list_with_response(
                search=search.words,
                sort_by=search.sort and search.sort.value,
                file_type=search.file_type and FILE_TYPES[search.file_type],
                license_name=search.license and LICENSES[search.license],
                tag_ids=",".join(search.tags),
                mine=mine,
                user=None if mine else search.publisher,
                min_size=search.min_size_bytes,
                max_size=search.max_size_bytes,
                page_size=size,
                page_token=token or None,
            )

    def tried(self, credentials: ApiKey | AccessToken) -> ApiKey | AccessToken:
        """The credentials with their account's name, once Kaggle has taken them. Raises FlareError."""
        question = Question("a trial", Account(credentials, Whose.OFFERED))
        api = self._api(credentials)
        with translated(question):
            match credentials:
                case ApiKey():
                    api.dataset_list_with_response(mine=True, page_size=1)  # which Kaggle shows to nobody else
                    return credentials
                case AccessToken(token):
                    username = _introspected(api, token)
        if not username:
            raise rejected(question)
        return AccessToken(token, username)

    def dataset(self, account: Account, ref: str) -> Any:
        """A data set, the package's `ApiDataset`. Raises FlareError."""
        with translated(_about(account, ref)), self._api(account.credentials).build_kaggle_client() as kaggle:
            from kagglesdk.datasets.types import dataset_api_service  # type: ignore[import-untyped]

            request = dataset_api_service.ApiGetDatasetRequest()
            request.owner_slug, request.dataset_slug = ref.split("/")
            found = kaggle.datasets.dataset_api_client.get_dataset(request)
            if not found.ref:
                raise ValueError("the answer says nothing of a data set")
            return found

    def files(self, account: Account, ref: str, version: int, size: int, token: str) -> Any:
        """A page of files, the package's `ApiListDatasetFilesResponse`. `version` 0: the latest. Raises FlareError."""
        with translated(_about(account, ref, version, has_cursor=bool(token))):
            versioned = f"{ref}/{version}" if version else ref
            api = self._api(account.credentials)
            return api.dataset_list_files(versioned, page_token=token or None, page_size=size)

    def download(self, account: Account, ref: str, version: int, path: str) -> requests.Response:
        """The answer to a download: a redirect to storage, not followed. Raises FlareError.

        `version` 0: the latest. An empty `path` asks for the archive of all files.
        """
        subject = f"file '{path}'" if path else "the archive"
        question = Question(f"{subject} of {_dataset_name(ref, version)}", account, ref)
        with translated(question), self._api(account.credentials).build_kaggle_client() as kaggle:
            from kagglesdk.datasets.types import dataset_api_service

            request = dataset_api_service.ApiDownloadDatasetRequest()
            request.owner_slug, request.dataset_slug = ref.split("/")
            request.file_name = path or None
            request.dataset_version_number = version or None
            return cast(requests.Response, kaggle.datasets.dataset_api_client.download_dataset(request))

    def storage_session(self) -> requests.Session:
        """A session for the addresses that downloads redirect to: without credentials, as those are signed."""
        session = requests.Session()
        session.auth = _no_credentials  # else a .netrc would be asked
        # What is counted and hashed is what storage holds, so nothing may compress it on the way.
        session.headers.update({"User-Agent": "flare", "Accept-Encoding": "identity"})
        _mount_time_limits(session, self._options)
        return session

    def _api(self, credentials: Credentials) -> Any:
        with _importing:
            _import_package()
        from kaggle.api.kaggle_api_extended import KaggleApi  # type: ignore[import-untyped]
        from kagglesdk import KaggleClient as SdkClient  # type: ignore[import-untyped]
        from kagglesdk import KaggleEnv

        options = self._options

        class Api(KaggleApi):  # type: ignore[misc]  # the package has no types
            def build_kaggle_client(self) -> Any:
                client = SdkClient(env=KaggleEnv.PROD)
                http = client.http_client()
                http._endpoint = options.endpoint or http._endpoint
                # As there is a session, the client looks for no credentials itself.
                http._session = _api_session(options, credentials)
                return client

        api = Api()
        api.config_values = {}  # the class's is shared by all
        return api


def _introspected(api: Any, token: str) -> str:
    """The account that an access token belongs to; empty if it is not good, or not any more."""
    from kagglesdk.security.types.oauth_service import IntrospectTokenRequest  # type: ignore[import-untyped]

    request = IntrospectTokenRequest()
    request.token = token
    with api.build_kaggle_client() as kaggle:
        said = kaggle.security.oauth_client.introspect_token(request)
        return said.username if said.active else ""


def _about(account: Account, ref: str, version: int = 0, *, has_cursor: bool = False) -> Question:
    return Question(_dataset_name(ref, version), account, ref, has_cursor)


def _search_name(search: Search) -> str:
    by = f" of '{search.publisher}'" if search.publisher else ""
    return f"data sets{by} with '{search.words}'" if search.words else f"data sets{by}"


def _dataset_name(ref: str, version: int) -> str:
    return f"version {version} of data set '{ref}'" if version else f"data set '{ref}'"


def _import_package() -> None:
    """Imports `kaggle` where it finds no credentials to send, no folder to make and nothing to print."""
    if "kaggle" in sys.modules:
        return
    # urllib3 logs every address at DEBUG, and a signed address is a secret.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as home:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("KAGGLE_") and name not in ("VERBOSE", "VERBOSE_OUTPUT")
        }
        # A key that is never sent keeps the package from printing how to log in.
        stand_in = {"HOME": home, "KAGGLE_CONFIG_DIR": home, "KAGGLE_USERNAME": "nobody", "KAGGLE_KEY": "none"}
        with _environment(kept | stand_in):
            import kaggle  # type: ignore[import-untyped]  # noqa: F401


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Shows Python code these variables. The process's own stay as they are, so that native threads may read them."""
    own = os.environ
    os.environ = cast("os._Environ[str]", dict(variables))  # noqa: B003 - replaced on purpose, see above
    try:
        yield
    finally:
        os.environ = own  # noqa: B003


class _ApiSession(requests.Session):
    """Stands between the package and the answers that it would misread."""

    def send(self, request: requests.PreparedRequest, **settings: Any) -> requests.Response:
        response = super().send(request, **settings)
        if response.status_code >= 400:  # the package parses the body first, and fails at one that is not JSON
            _ = response.content  # read while there is a connection
            raise requests.HTTPError(response=response)
        if response.status_code == 200 and not response.content.lstrip().startswith(b"{"):
            raise ValueError("the answer is no JSON object")  # of which the package would make one without content
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None  # the package would parse what it is redirected to, whatever it is


class _TimeLimits(HTTPAdapter):
    """Gives every request the time limits that the package does not."""

    def __init__(self, options: KaggleOptions) -> None:
        self._limits = (options.connect_timeout_seconds, options.read_timeout_seconds)
        self._answer_seconds = options.call_timeout_seconds
        super().__init__()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        response = super().send(request, stream, timeout or self._limits, verify, cert, proxies)
        if not stream:
            _read_whole(response, self._answer_seconds)
        return response


def _read_whole(response: requests.Response, seconds: float) -> None:
    """Reads the body, which requests would wait for as long as a byte comes now and then."""
    until, body = time.monotonic() + seconds, bytearray()
    while chunk := response.raw.read1(READ_BYTES, decode_content=True):
        body += chunk
        if time.monotonic() > until or len(body) > MAX_ANSWER_BYTES:
            response.close()
            raise requests.ReadTimeout(f"the answer is not whole after {seconds} s and {len(body)} bytes")
    response._content = bytes(body)  # where requests itself keeps it


def _api_session(options: KaggleOptions, credentials: Credentials) -> requests.Session:
    session = _ApiSession()
    session.headers.update({"User-Agent": "flare", "Content-Type": "application/json"})
    match credentials:
        case ApiKey(username, key):
            session.auth = (username, key)
        case AccessToken(token):
            session.headers["Authorization"] = f"Bearer {token}"
    _mount_time_limits(session, options)
    return session


def _mount_time_limits(session: requests.Session, options: KaggleOptions) -> None:
    for prefix in ("https://", "http://"):
        session.mount(prefix, _TimeLimits(options))


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
