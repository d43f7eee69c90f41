"""People's own credentials: set, used for what they ask and nothing else, changed, kept sealed, and forgotten."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from flare.common.v1 import job_pb2
from flare.scraper.v1 import scraper_service_pb2 as pb
from flare.scraper.v1 import source_pb2
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from scraper_server.composition import ScraperService
from scraper_server.credentials.sealing import Sealer, read_keys
from scraper_server.credentials.sql import SqlCredentialsStore
from scraper_server.credentials.vault import CredentialsVault
from scraper_server.settings import Settings
from scraper_server.sources.kaggle.credentials import ApiKey
from scraper_server.sources.source import SourceKind
from servicekit.database import Database
from tests.kaggle_emulator import Fault, KaggleEmulator, RequestKind
from tests.server.scraper.kaggle_server import (
    KAGGLE,
    NEW_KEY,
    OLD_KEY,
    access_token,
    api_key,
    ended,
    files_of,
    imported,
    operator,
    people_catalogue,
    serving,
)
from tests.server.scraper.scraper_calls import Caller, Refusal

if TYPE_CHECKING:
    from tests.tokens import TokenIssuer

ANNS_KEY, BOBS_TOKEN = "anns-secret-key", "bobs-secret-token"
GET = pb.GetSourceCredentialsRequest(source=KAGGLE)
DELETE = pb.DeleteSourceCredentialsRequest(source=KAGGLE)


@pytest.fixture
async def kaggle() -> AsyncIterator[KaggleEmulator]:
    keys = {"ann": ANNS_KEY, "operator": "operators-key"}
    catalogue = people_catalogue(["ann", "bob"])
    async with KaggleEmulator(catalogue, keys=keys, tokens={BOBS_TOKEN: "bob"}) as emulator:
        yield emulator


def content_of(directory: Path) -> bytes:
    """All bytes of its files."""
    return b"".join(file.read_bytes() for file in directory.rglob("*") if file.is_file())


async def diary_refused(person: Caller, ref: str = "ann/diary") -> Refusal:
    return await person.refused("ListDatasetFiles", pb.ListDatasetFilesRequest(source=KAGGLE, ref=ref))


async def test_own_credentials_are_set_told_of_used_and_deleted(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with serving(kaggle, token_issuer, tmp_path, **operator("operator", "operators-key")) as server:
        ann, bob = server.caller(), server.caller()
        assert (await ann.refused("GetSourceCredentials", GET)).reason == "NOT_FOUND"
        assert (await diary_refused(ann)).reason == "SOURCE_NOT_FOUND"

        told = await ann.call("SetSourceCredentials", api_key("ann", ANNS_KEY))
        assert (told.source, told.account) == (KAGGLE, "ann")
        assert await ann.call("GetSourceCredentials", GET) == told
        assert told.update_time.seconds > 0
        assert await files_of(ann, "ann/diary") == ["table.csv"]
        assert kaggle.requests[-1].credentials == f"ann:{ANNS_KEY}"

        assert (await bob.refused("GetSourceCredentials", GET)).reason == "NOT_FOUND"
        assert (await diary_refused(bob)).reason == "SOURCE_NOT_FOUND"
        assert kaggle.requests[-1].credentials == "operator:operators-key"

        await ann.call("DeleteSourceCredentials", DELETE)
        for method, request in (("GetSourceCredentials", GET), ("DeleteSourceCredentials", DELETE)):
            refusal = await ann.refused(method, request)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        assert "the configured account 'operator'" in (await diary_refused(ann)).text


async def test_an_access_token_tells_whose_it_is_and_takes_the_place_of_a_key(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with serving(kaggle, token_issuer, tmp_path) as server:
        bob = server.caller()
        await bob.call("SetSourceCredentials", api_key("ann", ANNS_KEY))
        assert (await bob.call("SetSourceCredentials", access_token(BOBS_TOKEN))).account == "bob"
        assert await files_of(bob, "bob/diary") == ["table.csv"]
        assert kaggle.requests[-1].credentials == BOBS_TOKEN
        mine = source_pb2.SearchFilter(owner="bob")
        page = await bob.call("SearchDatasets", pb.SearchDatasetsRequest(source=KAGGLE, filter=mine))
        assert {each.ref: each.is_private for each in page.datasets} == {"bob/public": False, "bob/diary": True}


@pytest.mark.parametrize("request_", [api_key("ann", "wrong-secret"), access_token("wrong-secret")])
@pytest.mark.parametrize("fault", [Fault(), *(Fault(s, body=b'{"message": "wrong-secret!"}') for s in (400, 403, 404))])
async def test_credentials_that_kaggle_refuses_are_not_kept(
    kaggle: KaggleEmulator,
    token_issuer: "TokenIssuer",
    tmp_path: Path,
    request_: pb.SetSourceCredentialsRequest,
    fault: Fault,
) -> None:
    async with serving(kaggle, token_issuer, tmp_path) as server:
        ann = server.caller()
        await ann.call("SetSourceCredentials", api_key("ann", ANNS_KEY))
        for kind in (RequestKind.LIST_DATASETS, RequestKind.INTROSPECT):
            kaggle.inject(kind, fault)
        refusal = await ann.refused("SetSourceCredentials", request_)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SOURCE_CREDENTIALS_REJECTED")
        assert refusal.text.startswith("Kaggle refuses your a")
        assert "nothing was kept" in refusal.text
        assert "wrong-secret" not in refusal.text
        assert (await ann.call("GetSourceCredentials", GET)).account == "ann"
        assert await files_of(ann, "ann/diary") == ["table.csv"]


async def test_a_token_that_is_not_active_any_more_is_not_kept(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    kaggle.inject(RequestKind.INTROSPECT, Fault(200, body=b'{"active": false, "username": "bob"}'))
    async with serving(kaggle, token_issuer, tmp_path) as server:
        refusal = await server.caller().refused("SetSourceCredentials", access_token(BOBS_TOKEN))
    assert refusal.reason == "SOURCE_CREDENTIALS_REJECTED"


@pytest.mark.parametrize("fault", [Fault(503), Fault(cut_after=0), Fault.html(), Fault.rate_limited("999")])
async def test_credentials_that_could_not_be_tried_are_not_kept(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path, fault: Fault
) -> None:
    kaggle.inject(RequestKind.LIST_DATASETS, fault, times=3)
    async with serving(kaggle, token_issuer, tmp_path) as server:
        ann = server.caller()
        refusal = await ann.refused("SetSourceCredentials", api_key("ann", ANNS_KEY))
        assert refusal.reason in ("SOURCE_UNAVAILABLE", "SOURCE_RATE_LIMITED")
        assert (await ann.refused("GetSourceCredentials", GET)).reason == "NOT_FOUND"


async def test_a_server_without_keys_keeps_no_credentials_and_says_how_to_make_one(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with serving(kaggle, token_issuer, tmp_path, keys="") as server:
        refusal = await server.caller().refused("SetSourceCredentials", api_key("ann", ANNS_KEY))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CREDENTIALS_NOT_KEPT")
    assert "FLARE_SCRAPER_CREDENTIALS_KEYS to what `openssl rand -base64 32` prints" in refusal.text
    assert kaggle.count() == 0


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.SetSourceCredentialsRequest(), "credentials"),
        (api_key("", "secret-thing"), "kaggle_api_key.username"),
        (api_key("ann/..", "secret-thing"), "kaggle_api_key.username"),
        (api_key("ann", "secret thing"), "kaggle_api_key.key"),
        (access_token("secret\nthing"), "kaggle_access_token"),
    ],
)
async def test_malformed_credentials_are_refused_by_their_field_and_not_shown(
    kaggle: KaggleEmulator,
    token_issuer: "TokenIssuer",
    tmp_path: Path,
    request_: pb.SetSourceCredentialsRequest,
    field: str,
) -> None:
    async with serving(kaggle, token_issuer, tmp_path) as server:
        refusal = await server.caller().refused("SetSourceCredentials", request_)
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (field,))
    assert "thing" not in refusal.text
    assert kaggle.count() == 0


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Threads take turns after microseconds, so that what they share is seen half changed."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("busy_threads")
async def test_people_who_ask_at_once_are_each_shown_their_own(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    credentials = {"ann": f"ann:{ANNS_KEY}", "bob": BOBS_TOKEN, "operator": "operator:operators-key"}
    async with serving(kaggle, token_issuer, tmp_path, **operator("operator", "operators-key")) as server:
        people = {name: server.caller() for name in credentials}
        await people["ann"].call("SetSourceCredentials", api_key("ann", ANNS_KEY))
        await people["bob"].call("SetSourceCredentials", access_token(BOBS_TOKEN))
        kaggle.requests.clear()
        kaggle.inject(RequestKind.LIST_DATASETS, Fault(pause_seconds=0.02), times=60)  # so that calls overlap

        async def found(name: str) -> set[str]:
            """What somebody finds who looks for their own data sets. The words tell the request apart."""
            request = pb.SearchDatasetsRequest(
                query=f"of {name}", source=KAGGLE, filter=source_pb2.SearchFilter(owner=name)
            )
            page = await people[name].call("SearchDatasets", request)
            return {each.ref for each in page.datasets}

        async def listed(name: str, other: str) -> str:
            """How somebody is refused what another keeps private."""
            return (await diary_refused(people[name], f"{other}/diary")).reason

        calls = [found(name) for _ in range(10) for name in people]
        refusals = [listed(name, other) for name in people for other in ("ann", "bob") if name != other]
        jobs = [imported(people[name], f"{name}/diary") for name in ("ann", "bob")]
        answers, reasons, made = await asyncio.gather(
            asyncio.gather(*calls), asyncio.gather(*refusals), asyncio.gather(*jobs)
        )

    expected = [{"ann/public", "ann/diary"}, {"bob/public", "bob/diary"}, set[str]()]
    assert answers == expected * 10
    assert set(reasons) == {"SOURCE_NOT_FOUND"}
    assert [job.state for job in made] == [job_pb2.JOB_STATE_SUCCEEDED] * 2
    searches = [request for request in kaggle.requests if request.kind is RequestKind.LIST_DATASETS]
    assert len(searches) == len(calls)
    for request in searches:
        assert request.credentials == credentials[request.body["search"].removeprefix("of ")]
    for request in kaggle.requests:
        if request.kind in (RequestKind.GET_DATASET, RequestKind.DOWNLOAD):  # only imports ask for these
            assert request.credentials == credentials[request.body["ownerSlug"]]
        if request.kind is RequestKind.STORAGE:
            assert request.credentials == ""


async def test_an_import_is_made_with_the_credentials_of_each_attempt(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    kaggle.inject(RequestKind.STORAGE, Fault(stall_after=1000))
    async with serving(kaggle, token_issuer, tmp_path) as server:
        ann = server.caller("accounts/ann")
        await ann.call("SetSourceCredentials", api_key("ann", ANNS_KEY))
        wanted = source_pb2.KaggleRef(ref="ann/diary")
        job = await ann.call("ImportDataset", pb.ImportDatasetRequest(kaggle=wanted))
        await kaggle.arrived(RequestKind.STORAGE)
    kaggle.accounts["ann"] = "anns-next-key"
    kaggle.requests.clear()
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'scraper.db'}")
    vault = CredentialsVault(SqlCredentialsStore(database), Sealer(read_keys(OLD_KEY)))
    await vault.keep("accounts/ann", SourceKind.KAGGLE, ApiKey("ann", "anns-next-key"))
    await database.close()
    async with serving(kaggle, token_issuer, tmp_path) as server:
        done = await ended(server.caller("accounts/ann"), job.name)
    assert (done.state, len(done.attempts)) == (job_pb2.JOB_STATE_SUCCEEDED, 2)
    asked = {request.credentials for request in kaggle.requests if request.kind is not RequestKind.STORAGE}
    assert asked == {"ann:anns-next-key"}


async def test_refused_credentials_are_told_with_whose_they_are_and_what_to_do(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with serving(kaggle, token_issuer, tmp_path, **operator("operator", "operators-key")) as server:
        ann, bob, carl = server.caller(), server.caller(), server.caller()
        await ann.call("SetSourceCredentials", api_key("ann", ANNS_KEY))
        await bob.call("SetSourceCredentials", access_token(BOBS_TOKEN))
        kaggle.accounts.clear()
        kaggle.tokens.clear()
        texts = [(await diary_refused(person)).text for person in (ann, bob, carl)]
        job = await imported(ann, "carl/shared")
    assert texts[0].startswith("Kaggle refuses your account 'ann' for data set 'ann/diary'")
    assert texts[1].startswith("Kaggle refuses your access token of account 'bob' for")
    for text in texts[:2]:
        assert "SetSourceCredentials" in text
        assert "DeleteSourceCredentials" in text
        assert "FLARE_" not in text
    assert texts[2].startswith("Kaggle refuses the configured account 'operator' for")
    assert "FLARE_SCRAPER_KAGGLE_KEY" in texts[2]
    assert job.state == job_pb2.JOB_STATE_FAILED
    assert job.error.message.startswith("Kaggle refuses your account 'ann'")


async def test_keys_are_changed_without_losing_what_they_sealed(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async def diary(keys: str) -> list[str]:
        async with serving(kaggle, token_issuer, tmp_path, keys) as server:
            return await files_of(server.caller("accounts/ann"), "ann/diary")

    async with serving(kaggle, token_issuer, tmp_path, OLD_KEY) as server:
        await server.caller("accounts/ann").call("SetSourceCredentials", api_key("ann", ANNS_KEY))
    assert await diary(f"{NEW_KEY},{OLD_KEY}") == ["table.csv"]
    assert await diary(NEW_KEY) == ["table.csv"]  # as that start sealed them anew

    kaggle.requests.clear()
    for keys in (OLD_KEY, ""):
        async with serving(kaggle, token_issuer, tmp_path, keys) as server:
            refusal = await diary_refused(server.caller("accounts/ann"), "carl/shared")
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CREDENTIALS_NOT_KEPT")
            assert await files_of(server.caller("accounts/bob"), "carl/shared") == ["table.csv"]
            everything = pb.SearchDatasetsRequest(query="iris")
            page = await server.caller("accounts/ann").call("SearchDatasets", everything)
            assert [each.ref for each in page.datasets] == ["iris"]
            everything.page_token = page.next_page_token
            refusal = await server.caller("accounts/ann").refused("SearchDatasets", everything)
            assert refusal.reason == "CREDENTIALS_NOT_KEPT"
    assert {request.credentials for request in kaggle.requests} == {""}
    async with serving(kaggle, token_issuer, tmp_path, "") as server:
        ann = server.caller("accounts/ann")
        assert (await ann.call("GetSourceCredentials", GET)).account == "ann"
        await ann.call("DeleteSourceCredentials", DELETE)
        assert await files_of(ann, "carl/shared") == ["table.csv"]


async def test_a_file_of_keys_is_made_once_for_its_owner_alone_and_goes_after_the_setting(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    file = tmp_path / "secrets" / "credentials-keys"
    async with serving(kaggle, token_issuer, tmp_path, "", credentials_keys_file=file) as server:
        await server.caller("accounts/ann").call("SetSourceCredentials", api_key("ann", ANNS_KEY))
    made = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    async with serving(kaggle, token_issuer, tmp_path, NEW_KEY, credentials_keys_file=file) as server:
        assert await files_of(server.caller("accounts/ann"), "ann/diary") == ["table.csv"]
    assert file.read_text() == made
    async with serving(kaggle, token_issuer, tmp_path, NEW_KEY) as server:
        assert await files_of(server.caller("accounts/ann"), "ann/diary") == ["table.csv"]


@pytest.mark.parametrize(
    ("setting", "in_file", "complaint"),
    [
        ("bm90IGEga2V5", NEW_KEY, "FLARE_SCRAPER_CREDENTIALS_KEYS: key 1 of 1 is not 32 bytes in base64"),
        (NEW_KEY, f"{OLD_KEY}\nbm90IGEga2V5", "FLARE_SCRAPER_CREDENTIALS_KEYS_FILE: key 2 of 2 is not 32 bytes"),
        (NEW_KEY, "\n", "FLARE_SCRAPER_CREDENTIALS_KEYS_FILE: '.*' is empty"),
    ],
)
def test_a_wrong_key_stops_the_start_with_its_place(
    token_issuer: "TokenIssuer", tmp_path: Path, setting: str, in_file: str, complaint: str
) -> None:
    file = tmp_path / "credentials-keys"
    file.write_text(in_file)
    settings = Settings(data_directory=tmp_path, credentials_keys=SecretStr(setting), credentials_keys_file=file)
    with pytest.raises(ValueError, match=complaint) as caught:
        ScraperService(settings, token_issuer.verifier, CollectorRegistry())
    assert "bm90" not in str(caught.value)
    assert setting not in repr(settings)


async def test_the_database_holds_no_secret_and_a_row_serves_nobody_else(
    kaggle: KaggleEmulator, token_issuer: "TokenIssuer", tmp_path: Path
) -> None:
    async with serving(kaggle, token_issuer, tmp_path) as server:
        await server.caller("accounts/ann").call("SetSourceCredentials", api_key("ann", ANNS_KEY))
        await server.caller("accounts/bob").call("SetSourceCredentials", access_token(BOBS_TOKEN))
    stored = content_of(tmp_path)
    assert b"accounts/ann" in stored
    for secret in (ANNS_KEY, BOBS_TOKEN, OLD_KEY):
        assert secret.encode() not in stored
    with sqlite3.connect(tmp_path / "scraper.db") as connection:
        anns = "SELECT account, sealed FROM source_credentials WHERE owner = 'accounts/ann'"
        connection.execute(f"UPDATE source_credentials SET (account, sealed) = ({anns}) WHERE owner = 'accounts/bob'")
    connection.close()
    kaggle.requests.clear()
    async with serving(kaggle, token_issuer, tmp_path) as server:
        refusal = await diary_refused(server.caller("accounts/bob"))
    assert refusal.reason == "CREDENTIALS_NOT_KEPT"
    assert kaggle.count() == 0
