"""The download of one file as it comes: streamed, gone on with after a cut, and checked."""

import errno
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from scraper_server.endings import ending_of
from scraper_server.sources.kaggle.accounts import Account
from scraper_server.sources.kaggle.client import KaggleClient
from scraper_server.sources.kaggle.failures import Question, refusal, translated, web_page
from scraper_server.sources.kaggle.options import KaggleOptions
from scraper_server.sources.kaggle.partial import Announced, Partial
from scraper_server.sources.kaggle.retries import Stop
from scraper_server.sources.source import ResolvedFile
from servicekit.errors import DataLoss, FlareError, Reason, ResourceExhausted, Unavailable

CHUNK_BYTES = 256 * 1024
# Having got this much further, a download has its tries back.
PROGRESS_BYTES = 1024 * 1024
REPORT_SECONDS = 0.1
# Storage refuses an address that has expired with one of these; a new one may be good.
ADDRESS_REFUSED = frozenset({400, 401, 403, 404, 410})


class Download:
    """Takes a file into a folder. `run` blocks, in a thread, until it is there or `stop` is requested."""

    def __init__(
        self,
        client: KaggleClient,
        options: KaggleOptions,
        account: Account,
        file: ResolvedFile,
        directory: Path,
        report: Callable[[int, int], None],
        stop: Stop,
    ) -> None:
        self._client = client
        self._options = options
        self._account = account
        self._file = file
        self._directory = directory
        self._report = report
        self._stop = stop
        self._question = Question(f"file '{file.path}' of data set '{file.ref}'", account, file.ref)
        self._address = ""
        self._report_time = 0.0

    def run(self) -> Path:
        """Returns the file as it came, perhaps in an archive. Raises FlareError, or Stopped."""
        identity = f"{self._file.ref}/{self._file.version}/{self._file.path}"
        try:
            with Partial(self._directory, identity) as part, self._client.storage_session() as session:
                self._take(part, session)
                return part.finish(f"whole{ending_of(self._file.path)}")
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ResourceExhausted(
                Reason.LIMIT_EXCEEDED,
                f"the server's disk is full, so {self._question.subject} can't be taken: free space in its data folder",
            ) from error

    def _take(self, part: Partial, session: requests.Session) -> None:
        """Brings all bytes, trying again as long as that helps, and checks them."""
        failures, damages = 0, 0
        while True:
            size_before = part.size
            try:
                self._stream(part, session)
                part.verify(self._question.subject, self._stop.check)
                return
            except DataLoss:
                damages += 1
                if damages == 2:
                    raise
                part.start(None)
            except FlareError as error:
                failures = 1 if part.size - size_before >= PROGRESS_BYTES else failures + 1
                wait = self._options.import_retries.wait_seconds(failures, error)
                if wait is None:
                    raise
                self._stop.wait(wait)

    def _stream(self, part: Partial, session: requests.Session) -> None:
        """Takes the bytes that are still missing, as far as one connection brings them."""
        self._stop.check()
        if part.is_complete:  # an earlier attempt ended between the last byte and the check
            return
        self._address = self._address or self._signed_address()
        headers = {}
        if part.announced is not None and part.announced.validator and part.size:
            headers = {"Range": f"bytes={part.size}-", "If-Range": part.announced.validator}
        with translated(self._question):
            response = session.get(self._address, headers=headers, stream=True)
        with self._stop.reading(response):
            self._accept(part, response)
            while chunk := self._next_chunk(response):
                if part.size + len(chunk) > self._options.max_file_bytes:
                    raise self._too_large(part.size + len(chunk))
                part.append(chunk)
                self._tell(part)
        self._report(part.size, part.announced.total_bytes if part.announced is not None else 0)
        self._check_end(part)

    def _signed_address(self) -> str:
        """Asks Kaggle where in storage the file is. The address is a secret, and good for some minutes."""
        answer = self._client.download(self._account, self._file.ref, self._file.version, self._file.path)
        address = urljoin(answer.url, answer.headers.get("Location", ""))
        downgraded = answer.url.startswith("https:") and urlsplit(address).scheme != "https"
        if not answer.is_redirect or downgraded:
            raise self._unavailable("did not say where the file is to be had over HTTPS")
        return address

    def _accept(self, part: Partial, response: requests.Response) -> None:
        """Makes the part ready for the body of `response`, or raises what the answer means."""
        if response.status_code in (200, 206) and "text/html" in response.headers.get("Content-Type", ""):
            raise web_page(self._question)
        match response.status_code:
            case 200:
                part.start(Announced.by(response, self._file.size_bytes))
                self._check_limit(part)
            case 206 if part.announced and (joined := part.announced.joined(response, part.size)):
                part.go_on(joined)
            case 206 | 416:
                part.start(None)
                raise self._unavailable("did not go on where the download had stopped")
            case status if status in ADDRESS_REFUSED:
                self._address = ""
                raise self._unavailable(f"storage refused the address of the file (HTTP status {status})")
            case _:
                raise refusal(self._question, response)

    def _next_chunk(self, response: requests.Response) -> bytes:
        """What has arrived by now, at most a chunk; empty at the end."""
        with translated(self._question):
            try:
                return bytes(response.raw.read1(CHUNK_BYTES, decode_content=False))
            finally:
                self._stop.check()  # a stop ends the connection: what that raises is no failure

    def _check_end(self, part: Partial) -> None:
        announced = part.announced
        if announced is not None and part.size < announced.total_bytes:
            raise self._unavailable(f"the connection ended after {part.size} of {announced.total_bytes} bytes")

    def _check_limit(self, part: Partial) -> None:
        if part.announced is not None and part.announced.total_bytes > self._options.max_file_bytes:
            raise self._too_large(part.announced.total_bytes)

    def _tell(self, part: Partial) -> None:
        now = time.monotonic()
        total = part.announced.total_bytes if part.announced is not None else 0
        if now - self._report_time >= REPORT_SECONDS or part.size == total:
            self._report_time = now
            self._report(part.size, total)

    def _too_large(self, size: int) -> ResourceExhausted:
        return ResourceExhausted(
            Reason.LIMIT_EXCEEDED,
            f"{self._question.subject} has {size} bytes or more, and the limit is {self._options.max_file_bytes}",
        )

    def _unavailable(self, what: str) -> Unavailable:
        return Unavailable(
            Reason.SOURCE_UNAVAILABLE, f"Kaggle, asked for {self._question.subject}: {what}; try again later"
        )
