"""The download of one file as it comes: streamed, gone on with after a cut, and checked."""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from scraper_server.sources.kaggle.accounts import Account
from scraper_server.sources.kaggle.client import KaggleClient
from scraper_server.sources.kaggle.failures import Question, refusal, translated, web_page
from scraper_server.sources.kaggle.options import KaggleOptions
from scraper_server.sources.kaggle.pace import Pace
from scraper_server.sources.kaggle.partial import Announced, Partial
from scraper_server.sources.kaggle.retries import Stop
from scraper_server.sources.source import ResolvedFile
from servicekit.errors import DataLoss, FlareError, Reason, ResourceExhausted, Unavailable

CHUNK_BYTES = 256 * 1024
REPORT_SECONDS = 0.1
# How soon to look again whether a thread that was told to stop has left the file.
LOCKED_SECONDS = 0.05
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
        subject = f"file '{file.path}'" if file.path else "the archive"
        self._question = Question(f"{subject} of data set '{file.ref}'", account, file.ref)
        self._pace = Pace(options.least_pace)
        self._restarts = 0
        self._address = ""
        self._report_time = 0.0

    def run(self) -> Path:
        """Returns the file as it came, perhaps in an archive. Raises FlareError, or Stopped."""
        with self._partial() as part, self._client.storage_session() as session:
            self._take(part, session)
            return part.finish("whole")

    def _partial(self) -> Partial:
        identity = f"{self._file.ref}/{self._file.version}/{self._file.path}"
        while True:
            try:
                return Partial(self._directory, identity)
            except BlockingIOError:
                self._stop.wait(LOCKED_SECONDS)

    def _take(self, part: Partial, session: requests.Session) -> None:
        """Brings all bytes, trying again as long as that helps, and checks them."""
        failures, damages = 0, 0
        self._pace.started(part.size)
        while True:
            try:
                self._stream(part, session)
                part.verify(self._question.subject, self._file.size_bytes, self._stop.check)
                return
            except DataLoss:
                damages += 1
                if damages == 2:
                    raise
                self._start_anew(part, None)
            except FlareError as error:
                failures = 1 if self._pace.has_got_on(part.size) else failures + 1
                wait = self._options.import_retries.wait_seconds(failures, error)
                if wait is None:
                    raise
                self._stop.wait(wait)
                self._pace.waited(error.retry_after_seconds or 0)

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
            self._report(part.size, part.total_bytes)
            self._pace.connected(part.size)
            while chunk := self._next_chunk(response):
                if part.size + len(chunk) > self._options.max_file_bytes:
                    raise self._too_large(part.size + len(chunk))
                part.append(chunk)
                if time.monotonic() - self._report_time >= REPORT_SECONDS:
                    self._report_time = time.monotonic()
                    self._report(part.size, part.total_bytes)
                if self._pace.is_too_slow(part.size):
                    raise self._unavailable(f"bytes come too slowly ({part.size} are there)")
        self._report(part.size, part.total_bytes)
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
                self._start_anew(part, Announced.by(response))
                if part.total_bytes > self._options.max_file_bytes:
                    raise self._too_large(part.total_bytes)
            case 206 if part.announced and (joined := part.announced.joined(response, part.size)):
                part.go_on(joined)
            case 206 | 416:
                self._start_anew(part, None)
                raise self._unavailable("did not go on where the download had stopped")
            case status if status in ADDRESS_REFUSED:
                self._address = ""
                raise self._unavailable(f"storage refused the address of the file (HTTP status {status})")
            case _:
                raise refusal(self._question, response)

    def _start_anew(self, part: Partial, announced: Announced | None) -> None:
        """Begins at the first byte. If that throws others away, it is done as often as there are tries."""
        if part.size:
            self._restarts += 1
            if self._restarts >= self._options.import_retries.tries:
                raise self._unavailable(f"the file had to be begun anew {self._restarts} times")
        part.start(announced)
        self._pace.started(0)

    def _next_chunk(self, response: requests.Response) -> bytes:
        """What has arrived by now, at most a chunk; empty at the end."""
        with translated(self._question):
            try:
                return bytes(response.raw.read1(CHUNK_BYTES, decode_content=False))
            finally:
                self._stop.check()  # a stop ends the connection: what that raises is no failure

    def _check_end(self, part: Partial) -> None:
        if part.size < part.total_bytes:
            raise self._unavailable(f"the connection ended after {part.size} of {part.total_bytes} bytes")

    def _too_large(self, size: int) -> ResourceExhausted:
        limit = self._options.max_file_bytes
        return ResourceExhausted(
            Reason.FILE_TOO_LARGE,
            f"{self._question.subject} has {size} bytes or more, and this server takes files of at most {limit} "
            "(FLARE_SCRAPER_MAX_FILE_BYTES)",
            limit_bytes=str(limit),
        )

    def _unavailable(self, what: str) -> Unavailable:
        return Unavailable(
            Reason.SOURCE_UNAVAILABLE, f"Kaggle, asked for {self._question.subject}: {what}; try again later"
        )
