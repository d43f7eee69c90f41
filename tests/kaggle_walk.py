"""Walks faults of Kaggle through imports: what can be wrong, where, how often, and what has to come of it."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from flare.common.v1 import job_pb2
from flare.scraper.v1 import import_job_pb2, source_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from google.rpc import error_details_pb2
from prometheus_client import CollectorRegistry

from scraper_server.composition import ScraperService
from scraper_server.settings import Settings
from tests.kaggle_emulator import FOREVER, Catalogue, EmulatedDataset, EmulatedFile, Fault, KaggleEmulator, RequestKind
from tests.server.scraper.scraper_calls import Caller, Server

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

NUMBERS = b"number,square\n" + b"".join(b"%d,%d\n" % (number, number**2) for number in range(8000))
SIZE = len(NUMBERS)
TRIES = 4
# Short, so that what is never answered is soon given up; a machine that is busy makes up for it with its tries.
IMPATIENT: dict[str, Any] = {
    "kaggle_read_timeout_seconds": 0.5,
    "kaggle_call_timeout_seconds": 1,
    "kaggle_import_tries": TRIES,
    "kaggle_import_first_wait_seconds": 0.02,
    "kaggle_longest_asked_wait_seconds": 2,
    "kaggle_least_bytes_per_second": 500,
    "kaggle_least_pace_window_seconds": 0.5,
}
BOUND_SECONDS = 90

UNAVAILABLE, LIMITED = frozenset({"SOURCE_UNAVAILABLE"}), frozenset({"SOURCE_RATE_LIMITED"})
REJECTED, MISSING = frozenset({"SOURCE_CREDENTIALS_REJECTED"}), frozenset({"SOURCE_NOT_FOUND"})
CORRUPT = frozenset({"DOWNLOAD_CORRUPT"})
RETRIED, AT_ONCE, DAMAGE, ALWAYS = TRIES - 1, 0, 1, 10**9


@dataclass(frozen=True)
class Wrong:
    """A fault, how often in a row an import outlives it, and what it fails with if it comes more often."""

    name: str
    fault: Fault
    reasons: frozenset[str]
    outlived: int = RETRIED
    may_succeed: bool = False
    """True if even a fault that stays lets some bytes through."""


@dataclass(frozen=True)
class Case:
    """A fault at a kind of request, so many times; on resume: after a cut in the middle."""

    kind: RequestKind
    wrong: Wrong
    times: int | None
    on_resume: bool = False

    def __str__(self) -> str:
        times = "for ever" if self.times is FOREVER else f"{self.times} times"
        return f"{self.kind.value}{' on resume' if self.on_resume else ''}: {self.wrong.name}, {times}"


def anywhere() -> Iterator[Wrong]:
    """What both the API and the storage may do."""
    yield Wrong("cut before the answer", Fault(cut_after=0), UNAVAILABLE)
    yield Wrong("stalled before the answer", Fault(stall_after=0), UNAVAILABLE)
    yield Wrong("429", Fault.rate_limited(), LIMITED)
    yield Wrong("429 with seconds", Fault.rate_limited("0"), LIMITED)
    yield Wrong("429 with a date", Fault.rate_limited("Fri, 01 Mar 2024 08:30:15 GMT"), LIMITED)
    yield Wrong("429 for long", Fault.rate_limited("900"), LIMITED, AT_ONCE)
    yield Wrong("500", Fault(500), UNAVAILABLE)
    yield Wrong("503 with seconds", Fault(503, {"Retry-After": "0"}), UNAVAILABLE)
    yield Wrong("a page with 502", Fault.html(502), UNAVAILABLE)


def at_the_api() -> Iterator[Wrong]:
    """What its answers may be."""
    yield from anywhere()
    yield Wrong("cut within the answer", Fault(cut_after=1), UNAVAILABLE)
    yield Wrong("stalled within the answer", Fault(stall_after=1), UNAVAILABLE)
    yield Wrong("a trickle", Fault.drip(pause_seconds=0.2), UNAVAILABLE)
    yield Wrong("5 bytes too many announced", Fault(length_delta=5), UNAVAILABLE)
    yield Wrong("a byte less", Fault(length_delta=-1), UNAVAILABLE)
    yield Wrong("corrupt", Fault(flip_at=0), UNAVAILABLE)
    yield Wrong("no JSON", Fault.no_json(), UNAVAILABLE)
    yield Wrong("JSON of another shape", Fault(200, body=b"[1, 2]"), UNAVAILABLE)
    yield Wrong("a page", Fault.html(), UNAVAILABLE)
    yield Wrong("an outage in JSON", Fault.error_in_json(503), UNAVAILABLE)
    yield Wrong("nothing in JSON", Fault.error_in_json(404), MISSING, AT_ONCE)
    yield Wrong("401", Fault(401), REJECTED, AT_ONCE)
    yield Wrong("403", Fault(403), REJECTED, AT_ONCE)
    yield Wrong("404", Fault(404), MISSING, AT_ONCE)


def in_storage(*, on_resume: bool = False) -> Iterator[Wrong]:
    """What its answers may be, wherever in the body one is."""
    yield from anywhere()
    yield Wrong("a trickle", Fault.drip(), UNAVAILABLE, may_succeed=True)
    # What goes on from a byte says how many there are in all, so there the bytes that lack are seen and asked for.
    short, unseen = Fault(length_delta=-10), Fault(length_delta=-10, without_hash=True)
    yield Wrong("10 bytes less", short, CORRUPT | UNAVAILABLE, DAMAGE, may_succeed=on_resume)
    yield Wrong("10 bytes less and no hash", unseen, CORRUPT | UNAVAILABLE, DAMAGE, may_succeed=on_resume)
    yield Wrong("10 bytes too many announced", Fault(length_delta=10), UNAVAILABLE, may_succeed=on_resume)
    yield Wrong("in chunks", Fault(chunked=True), UNAVAILABLE, ALWAYS)
    yield Wrong("without frame", Fault(unframed=True), UNAVAILABLE, ALWAYS)
    yield Wrong("a page", Fault.html(), REJECTED, AT_ONCE)
    yield Wrong("an outage in JSON", Fault.error_in_json(503), CORRUPT, DAMAGE)
    for status in (400, 401, 403, 404, 410, 416, 418):
        yield Wrong(f"{status}", Fault(status), UNAVAILABLE)


def in_the_body(at: int, *, on_resume: bool = False) -> Iterator[Wrong]:
    """What may happen at a byte."""
    gets_on = at > 100
    yield Wrong(f"cut at {at}", Fault(cut_after=at), UNAVAILABLE, may_succeed=gets_on)
    yield Wrong(f"stalled at {at}", Fault(stall_after=at), UNAVAILABLE, may_succeed=gets_on)
    yield Wrong(f"cut at {at} in chunks", Fault(cut_after=at, chunked=True), UNAVAILABLE, may_succeed=gets_on)
    unseen, reasons = Fault(cut_after=at, unframed=True, without_hash=True), CORRUPT | UNAVAILABLE
    yield Wrong(f"cut at {at} without frame or hash", unseen, reasons, DAMAGE, may_succeed=gets_on or on_resume)
    yield Wrong(f"corrupt at {at}", Fault(flip_at=at), CORRUPT, DAMAGE)


TIMES = (1, 2, FOREVER)


def cases_at_the_api(kind: RequestKind) -> list[Case]:
    """Every fault of an answer of the API."""
    return [Case(kind, wrong, times) for wrong, times in itertools.product(at_the_api(), TIMES)]


def cases_in_storage(at: int) -> list[Case]:
    """Every fault of a body at a byte; at the first one, those of the whole answer too."""
    wrongs = [*in_the_body(at), *(in_storage() if at == 1 else ())]
    return [Case(RequestKind.STORAGE, wrong, times) for wrong, times in itertools.product(wrongs, TIMES)]


def cases_on_resume() -> list[Case]:
    """Every fault of the answer that brings the rest."""
    wrongs = [*in_storage(on_resume=True), *in_the_body(1, on_resume=True), *in_the_body(SIZE // 4, on_resume=True)]
    return [
        Case(RequestKind.STORAGE, wrong, times, on_resume=True) for wrong, times in itertools.product(wrongs, TIMES)
    ]


@dataclass(frozen=True)
class Stuck:
    """An import that does not get on."""

    ref: str
    job: Any


DOWNLOADING, CONVERTING = import_job_pb2.IMPORT_PHASE_DOWNLOADING, import_job_pb2.IMPORT_PHASE_CONVERTING
# Takes seconds to convert.
LARGE = b"number,text\n" + b"".join(b"%d,some text of row %d\n" % (number, number) for number in range(1_000_000))
STEPS: dict[str, tuple[RequestKind, Fault | None]] = {
    "asking for the data set": (RequestKind.GET_DATASET, Fault(stall_after=0)),
    "asking for its files": (RequestKind.LIST_FILES, Fault(stall_after=0)),
    "asking where the file is": (RequestKind.DOWNLOAD, Fault(stall_after=0)),
    "before the first byte": (RequestKind.STORAGE, Fault(stall_after=0)),
    "in the middle": (RequestKind.STORAGE, Fault(stall_after=SIZE // 2)),
    "waiting as asked": (RequestKind.STORAGE, Fault.rate_limited("60")),
    "converting": (RequestKind.STORAGE, None),
}
PATIENT: dict[str, Any] = IMPATIENT | {
    "kaggle_read_timeout_seconds": 15,
    "kaggle_call_timeout_seconds": 15,
    "kaggle_longest_asked_wait_seconds": 60,
    "kaggle_least_pace_window_seconds": 60,
}


@dataclass
class Walk:
    """A server with an emulator in Kaggle's place, where every case has a data set of its own."""

    kaggle: KaggleEmulator
    caller: Caller
    directory: Path
    digest: str = ""
    _names: Iterator[int] = field(default_factory=itertools.count)

    def offered(self, content: bytes = NUMBERS, **more: Any) -> str:
        """The reference of a new data set with one table."""
        ref = f"ann/case-{next(self._names)}"
        self.kaggle.catalogue.datasets.append(EmulatedDataset(ref, "Numbers", [EmulatedFile("t.csv", content)], **more))
        return ref

    async def begun(self, ref: str, caller: Caller | None = None) -> Any:
        """An import job."""
        wanted = pb.ImportDatasetRequest(kaggle=source_pb2.KaggleRef(ref=ref))
        return await (caller or self.caller).call("ImportDataset", wanted)

    async def ended(self, job: Any, caller: Caller | None = None) -> Any:
        """The job at its end; an error if that does not come."""
        who = caller or self.caller
        stream = who.stub.WatchImportJob(
            pb.WatchImportJobRequest(name=job.name), metadata=who.metadata, timeout=BOUND_SECONDS
        )
        last = None
        async for message in stream:
            last = message
        assert last is not None
        return last.snapshot

    async def complaint(self, case: Case) -> str:
        """What is not as it has to be when a case is walked; empty if all is."""
        ref = self.offered()
        if case.on_resume:
            self.kaggle.inject(RequestKind.STORAGE, Fault(cut_after=SIZE // 2), ref=ref)
        self.kaggle.inject(case.kind, case.wrong.fault, case.times, ref)
        try:
            job = await self.ended(await self.begun(ref))
        except grpc.aio.AioRpcError as error:
            return f"{case}: the watch ended with {error.code()}"
        must_succeed = case.times is not FOREVER and case.times <= case.wrong.outlived
        may_succeed = must_succeed or case.wrong.may_succeed or case.wrong.outlived == ALWAYS
        if job.state == job_pb2.JOB_STATE_SUCCEEDED:
            return "" if may_succeed and await self.is_right(job, ref) else f"{case}: made a data set"
        reason = reason_of(job)
        if must_succeed or reason not in case.wrong.reasons:
            return f"{case}: {job_pb2.JobState.Name(job.state)}, {reason}: {job.error.message}"
        return ""

    async def complaints(self, cases: list[Case], at_once: int = 16) -> list[str]:
        """What is wrong with any of these cases."""
        slots = asyncio.Semaphore(at_once)

        async def walked(case: Case) -> str:
            async with slots:
                return await self.complaint(case)

        found = await asyncio.gather(*(walked(case) for case in cases))
        return [complaint for complaint in found if complaint] + self.left()

    async def is_right(self, job: Any, ref: str) -> bool:
        """Whether the data set is that of an undisturbed import, and the file that came equal byte for byte."""
        dataset = await self.caller.call("GetDataset", pb.GetDatasetRequest(name=job.dataset))
        return dataset.digest == self.digest and [file.read_bytes() for file in self.kept(ref)] == [NUMBERS]

    def kept(self, ref: str) -> list[Path]:
        """The files of a data set in the download cache."""
        found = []
        for done in (self.directory / "scraper-work" / "downloads").glob("*/done.json"):
            notes = json.loads(done.read_text())
            if notes["identity"]["ref"] == ref:
                found.append(done.parent / "content" / notes["name"])
        return found

    def left(self) -> list[str]:
        """Whatever lies in the work folder that is neither a whole file in the cache nor says that it is one."""
        work = self.directory / "scraper-work"
        whole = {file for done in work.glob("downloads/*/done.json") for file in (done, done.parent / "content/whole")}
        files = [path for path in work.rglob("*") if path.is_file() and path not in whole]
        return [f"left: {path.relative_to(work)}" for path in [*files, *work.glob("imports/*")]]

    async def stuck(self) -> dict[str, Stuck]:
        """A job that is stuck in each step of an import, once: whoever asks again is answered."""
        found = {}
        for step, (kind, fault) in STEPS.items():
            ref = self.offered(LARGE if fault is None else NUMBERS)
            if fault is not None:
                self.kaggle.inject(kind, fault, ref=ref)
            job = await self.begun(ref)
            async with asyncio.timeout(BOUND_SECONDS):
                await self.kaggle.arrived(kind, ref)
            if fault is None or fault.stall_after:
                await self._reached(job, CONVERTING if fault is None else DOWNLOADING)
            found[step] = Stuck(ref, job)
        return found

    async def _reached(self, job: Any, phase: int) -> None:
        """Waits until the job told of bytes of a phase."""
        request = pb.WatchImportJobRequest(name=job.name)
        stream = self.caller.stub.WatchImportJob(request, metadata=self.caller.metadata, timeout=BOUND_SECONDS)
        async for message in stream:
            if message.event.progress.phase == phase and message.event.progress.done_bytes:
                stream.cancel()
                return


def reason_of(job: Any) -> str:
    """Why a job failed."""
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in job.error.details)
    return info.reason


@asynccontextmanager
async def walking(
    issuer: "TokenIssuer", directory: Path, kaggle: KaggleEmulator | None = None, **settings: Any
) -> AsyncIterator[Walk]:
    """A walk with a server of its own, and an emulator if none is given."""
    async with (
        kaggle or KaggleEmulator(Catalogue([])) as emulator,
        served(issuer, directory, emulator, **settings) as walk,
    ):
        walk.digest = await undisturbed_digest(walk)
        yield walk


@asynccontextmanager
async def served(
    issuer: "TokenIssuer", directory: Path, kaggle: KaggleEmulator, **settings: Any
) -> AsyncIterator[Walk]:
    """A server at an emulator that runs."""
    chosen = IMPATIENT | {"concurrent_imports": 16, "processes": 2, "drain_seconds": 2} | settings
    service = ScraperService(
        Settings(listen_address="127.0.0.1:0", data_directory=directory, kaggle_endpoint=kaggle.endpoint, **chosen),
        issuer.verifier,
        CollectorRegistry(),
    )
    await service.prepare()
    port = await service.rpc.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Walk(kaggle, Server(channel, issuer, directory).caller("accounts/ann"), directory)
    finally:
        await service.rpc.drain()
        await service.close()


async def undisturbed_digest(walk: Walk) -> str:
    """The digest of the table when nothing goes wrong."""
    job = await walk.ended(await walk.begun(walk.offered()))
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED
    dataset = await walk.caller.call("GetDataset", pb.GetDatasetRequest(name=job.dataset))
    return str(dataset.digest)
