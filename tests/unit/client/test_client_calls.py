"""Calls of the Python client: tokens, retries, request ids, errors."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flare_client
import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from flare_client import FlareError
from flare_client import aio as flare_aio
from flare_client.profile import ProfileStore

from tests.unit.client.fake_flare import Account, FakeFlare


async def test_the_first_call_logs_in_and_the_next_one_does_not(fake: FakeFlare, account: Account) -> None:
    async with flare_aio.connect(**account) as flare:
        await flare.datasets.get("iris")
        await flare.datasets.get("iris")
    assert (fake.logins, fake.refreshes) == (1, 0)


async def test_calls_that_start_together_log_in_once(fake: FakeFlare, account: Account) -> None:
    fake.login_delay_seconds = 0.1
    async with flare_aio.connect(**account) as flare:
        await asyncio.gather(*(flare.datasets.get(f"d{n}") for n in range(20)))
    assert (fake.logins, fake.refreshes) == (1, 0)


def test_threads_that_start_together_log_in_once(fake: FakeFlare, account: Account) -> None:
    fake.login_delay_seconds = 0.1
    with flare_client.connect(**account) as flare:
        threads = [threading.Thread(target=flare.datasets.get, args=(f"d{n}",)) for n in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (fake.logins, fake.refreshes, fake.calls.count("GetDataset")) == (1, 0, 10)


async def test_a_token_is_renewed_before_it_ends(fake: FakeFlare, account: Account) -> None:
    async with flare_aio.connect(**account) as flare:
        fake.token_seconds = -1.0
        await flare.datasets.get("iris")
        await flare.datasets.get("iris")
    assert (fake.logins, fake.refreshes) == (1, 1)
    assert fake.calls == ["GetDataset", "GetDataset"]  # the service never had to refuse


async def test_a_token_that_a_service_calls_expired_is_renewed_once(fake: FakeFlare, account: Account) -> None:
    async with flare_aio.connect(**account) as flare:
        await flare.datasets.get("iris")
        fake.expire_tokens()
        await flare.datasets.get("iris")
    assert (fake.logins, fake.refreshes) == (1, 1)
    assert fake.calls == ["GetDataset"] * 3


async def test_a_given_token_that_ended_is_an_error_that_says_so(fake: FakeFlare, account: Account) -> None:
    async with flare_aio.connect(token="of-yesterday", scraper=fake.address) as flare:
        with pytest.raises(FlareError, match="give a new one") as raised:
            await flare.datasets.get("iris")
    assert raised.value.reason == "TOKEN_EXPIRED"
    assert fake.calls == ["GetDataset"]


async def test_a_wrong_password_is_told_as_the_service_tells_it(fake: FakeFlare, account: Account) -> None:
    async with flare_aio.connect(**(account | {"password": "wrong"})) as flare:
        with pytest.raises(FlareError, match="no such account") as raised:
            await flare.datasets.get("iris")
    assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_REJECTED")


async def test_a_refused_refresh_token_makes_an_account_log_in_again(fake: FakeFlare, account: Account) -> None:
    async with flare_aio.connect(**account) as flare:
        await flare.datasets.get("iris")
        fake.expire_tokens()
        fake.refresh_token = "revoked"
        await flare.datasets.get("iris")
    assert (fake.logins, fake.refreshes) == (2, 0)


async def test_nobody_logged_in_is_told_with_the_ways_to_log_in(fake: FakeFlare) -> None:
    async with flare_aio.connect(scraper=fake.address) as flare:
        with pytest.raises(FlareError, match="flare login"):
            await flare.datasets.list()


async def test_reads_are_tried_again_while_the_service_is_away(fake: FakeFlare, account: Account) -> None:
    fake.failures["GetDataset"] = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE]
    async with flare_aio.connect(**account) as flare:
        dataset = await flare.datasets.get("iris")
    assert dataset.name == "datasets/iris"
    assert fake.calls == ["GetDataset"] * 3


async def test_reads_that_a_server_cancels_as_it_ends_are_tried_again(fake: FakeFlare, account: Account) -> None:
    fake.failures["Predict"] = [grpc.StatusCode.CANCELLED]
    async with flare_aio.connect(**account) as flare:
        await flare.predict("iris", {"x": [1.0]})
    assert fake.calls == ["Predict"] * 2


def test_a_call_whose_own_program_closes_the_connection_is_not_repeated(fake: FakeFlare, account: Account) -> None:
    fake.predict_delay_seconds = 60
    flare = flare_client.connect(**account)
    with ThreadPoolExecutor(1) as thread:
        predicting = thread.submit(flare.predict, "iris", {"x": [1.0]})
        fake.predicts.wait()
        flare.close()
        with pytest.raises(FlareError, match="closed") as raised:
            predicting.result()
    assert raised.value.code is grpc.StatusCode.CANCELLED


async def test_a_create_is_repeated_with_its_request_id(fake: FakeFlare, account: Account) -> None:
    fake.failures["CreateTrainingJob"] = [grpc.StatusCode.UNAVAILABLE]
    async with flare_aio.connect(**account) as flare:
        await flare.train("iris", "iris/main")
    first, second = fake.request_ids
    assert first == second
    assert first


async def test_a_delete_is_not_repeated(fake: FakeFlare, account: Account) -> None:
    fake.failures["DeleteModel"] = [grpc.StatusCode.UNAVAILABLE]
    async with flare_aio.connect(**account) as flare:
        with pytest.raises(FlareError, match="draining"):
            await flare.models.delete("iris")
    assert fake.calls == ["DeleteModel"]


async def test_errors_other_than_unavailable_are_not_repeated(fake: FakeFlare, account: Account) -> None:
    async with flare_aio.connect(**account) as flare:
        with pytest.raises(FlareError) as raised:
            await flare.models.create("iris", flare_client.mlp([4]))
    assert fake.calls == ["CreateModel"]
    error = raised.value
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SHAPE_MISMATCH")
    assert [(v.field, v.description) for v in error.violations] == [("model.mlp", "too wide")]
    assert str(error) == "shapes do not fit; model.mlp: too wide"


async def test_a_service_that_does_not_run_is_told_with_its_address(account: Account, fake: FakeFlare) -> None:
    async with flare_aio.connect(**(account | {"scraper": "127.0.0.1:1"})) as flare:
        with pytest.raises(FlareError, match=r"scraper service at 127\.0\.0\.1:1.*flare up") as raised:
            await flare.datasets.get("iris")
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE


async def test_a_message_over_the_limit_is_told_with_what_to_do(fake: FakeFlare, account: Account) -> None:
    async with flare_aio.connect(**account) as flare:
        with pytest.raises(FlareError, match=r"larger than max .*: send or ask for less at a time, such as") as raised:
            await flare.predict("iris", {"x": ["x" * 20_000] * 1_000})
    assert raised.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_call_that_is_not_answered_ends_in_time(
    fake: FakeFlare, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flare_client.aio.predictions.PREDICT_SECONDS", 0.3)
    fake.predict_delay_seconds = 60
    async with flare_aio.connect(**account) as flare:
        with pytest.raises(FlareError, match=r"ml service at .* did not answer in time") as raised:
            await flare.predict("iris", {"x": [1.0]})
    assert raised.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"top": 2.5}, "top is 2.5: give a whole number of 32 bits"),
        ({"partial": "yes"}, "partial is 'yes': give true or false"),
        ({"id": 7}, "id is 7: give a string"),
    ],
)
async def test_what_a_field_can_not_hold_is_refused_with_its_name(
    fake: FakeFlare, account: Account, asked: dict[str, Any], message: str
) -> None:
    async with flare_aio.connect(**account) as flare:
        with pytest.raises(FlareError, match=message) as raised:
            await flare.predict("iris", {"x": [1.0]}, **asked)
    assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    async with flare_aio.connect(**account) as flare:
        with pytest.raises(FlareError, match=r"steps is 2\.5: give a whole number of 32 bits"):
            await flare.explain("iris", {"x": [1.0]}, steps=2.5)  # type: ignore[arg-type]  # as a user may
    assert fake.calls == []


async def test_a_list_has_the_items_of_all_pages(fake: FakeFlare, account: Account) -> None:
    async with flare_aio.connect(**account) as flare:
        datasets = await flare.datasets.list()
    assert [dataset.name for dataset in datasets] == ["datasets/d0", "datasets/d1", "datasets/d2"]


@pytest.mark.parametrize("address", ["10.0.0.7:50051", "flare.example.com:50051"])
def test_plain_text_does_not_leave_this_machine_unless_spelled_out(address: str) -> None:
    with pytest.raises(FlareError, match="insecure=True"):
        flare_client.connect(ml=address, token="t")
    flare_client.connect(ml=address, token="t", insecure=True).close()


def own_authority(folder: Path) -> tuple[Path, grpc.ServerCredentials]:
    """A certificate for localhost that vouches for itself: its file, and what a server does with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "authority.pem").write_bytes(certificate)
    return folder / "authority.pem", grpc.ssl_server_credentials([(secret, certificate)])


async def test_both_clients_talk_tls_to_a_server_of_an_own_authority(tmp_path: Path) -> None:
    authority, credentials = own_authority(tmp_path)
    server = FakeFlare()
    server.start("localhost:0", credentials)
    try:
        addresses = {"auth": server.address, "scraper": server.address, "ml": server.address}
        account = {**addresses, "username": "ann", "password": "correct horse"}
        async with flare_aio.connect(**account, ca_certificate=authority) as flare:  # type: ignore[arg-type]
            assert (await flare.datasets.get("iris")).name == "datasets/iris"

        def blocking() -> str:
            with flare_client.connect(**account, ca_certificate=authority) as flare:  # type: ignore[arg-type]
                return flare.datasets.get("iris").name

        assert await asyncio.to_thread(blocking) == "datasets/iris"
        async with flare_aio.connect(**account, tls=True) as flare:  # type: ignore[arg-type]
            with pytest.raises(FlareError, match="no answer from the auth service"):
                await flare.datasets.get("iris")
    finally:
        server.close()


def test_half_of_an_account_is_refused() -> None:
    with pytest.raises(FlareError, match="belong together"):
        flare_client.connect(username="ann")


def test_an_argument_goes_before_the_environment_before_the_stored_login(
    fake: FakeFlare, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    flare_client.login("ann", "correct horse", auth=fake.address, scraper="127.0.0.1:2", ml="127.0.0.1:2")
    monkeypatch.setenv("FLARE_ML_ADDRESS", fake.address)
    with flare_client.connect(scraper=fake.address) as flare:
        assert flare.datasets.get("iris").name == "datasets/iris"
        assert flare.models.version("iris/versions/1").name == "models/iris/versions/1"


def test_a_stored_login_serves_several_connections_and_keeps_the_newest_refresh_token(fake: FakeFlare) -> None:
    flare_client.login("ann", "correct horse", auth=fake.address, scraper=fake.address, ml=fake.address)
    store = ProfileStore()
    assert store.path.stat().st_mode & 0o777 == 0o600
    with flare_client.connect() as one, flare_client.connect() as other:
        one.datasets.get("iris")
        fake.expire_tokens()
        one.datasets.get("iris")
        other.datasets.get("iris")  # takes the tokens that the first stored
    assert (fake.logins, fake.refreshes) == (1, 1)
    stored = store.load()
    assert stored is not None
    assert stored.tokens.refresh_token == fake.refresh_token


def test_a_stored_login_that_ended_asks_for_a_new_one(fake: FakeFlare) -> None:
    flare_client.login("ann", "correct horse", auth=fake.address, scraper=fake.address, ml=fake.address)
    fake.expire_tokens()
    fake.refresh_token = "revoked"
    with flare_client.connect() as flare, pytest.raises(FlareError, match="run `flare login`") as raised:
        flare.datasets.get("iris")
    assert raised.value.reason == "REFRESH_TOKEN_REJECTED"


def test_a_broken_login_file_asks_for_a_new_login(fake: FakeFlare) -> None:
    path = ProfileStore().path
    path.write_text("{")
    with pytest.raises(FlareError, match="log in again"):
        flare_client.connect()


def test_an_upload_sends_the_file_in_chunks_and_is_repeated_whole(
    fake: FakeFlare, account: Account, tmp_path: Path
) -> None:
    content = b"x" * (2 * 1024 * 1024 + 5)
    (tmp_path / "table.csv").write_bytes(content)
    fake.failures["UploadDataset"] = [grpc.StatusCode.UNAVAILABLE]
    seen: list[tuple[int, int]] = []
    with flare_client.connect(**account) as flare:
        flare.datasets.upload(
            tmp_path / "table.csv", dataset_id="table", on_progress=lambda done, total: seen.append((done, total))
        )
    assert fake.uploaded == content
    assert seen[-1] == (len(content), len(content))


def test_an_export_that_differs_from_what_was_announced_leaves_no_file(
    fake: FakeFlare, account: Account, tmp_path: Path
) -> None:
    with flare_client.connect(**account) as flare, pytest.raises(FlareError, match=r"iris\.zip") as raised:
        flare.models.export("iris", tmp_path)
    assert raised.value.reason == "DOWNLOAD_CORRUPT"
    assert list(tmp_path.iterdir()) == []
