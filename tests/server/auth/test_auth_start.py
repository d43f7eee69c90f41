"""Starting, starting again, starting twice, and starting with something wrong."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from auth_server.__main__ import main
from auth_server.composition import AuthService
from auth_server.first_start import BadSecretFileError
from auth_server.settings import ServiceSetting, Settings
from auth_server.tokens.signing_keys import KeyFileError
from servicekit.errors import InvalidArgument, Unauthenticated
from tests.server.auth.conftest import CHEAP_HASHER, settings


async def prepared(values: Settings) -> AuthService:
    service = AuthService(values, CHEAP_HASHER, CollectorRegistry())
    await service.prepare()
    return service


async def test_second_start_changes_nothing(tmp_path: Path) -> None:
    first = await prepared(settings(tmp_path))
    kid = first.keys.current().kid
    await first.close()
    files = {name: (tmp_path / name).read_text() for name in ("admin-password", "auth-key", "ml-secret")}
    second = await prepared(settings(tmp_path))
    assert second.keys.current().kid == kid
    assert {name: (tmp_path / name).read_text() for name in files} == files
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in files)
    await second.close()


async def test_password_file_of_the_operator_is_taken_and_kept(tmp_path: Path) -> None:
    (tmp_path / "admin-password").write_text("chosen by the operator\n")
    service = await prepared(settings(tmp_path))
    await service.accounts.check_login("admin", "chosen by the operator", "peer")
    assert (tmp_path / "admin-password").read_text() == "chosen by the operator\n"
    await service.close()


async def test_weak_password_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "admin-password").write_text("admin")
    with pytest.raises(InvalidArgument, match="take at least 12"):
        await prepared(settings(tmp_path))


async def test_deleted_password_file_is_not_made_again(tmp_path: Path) -> None:
    await (await prepared(settings(tmp_path))).close()
    (tmp_path / "admin-password").unlink()
    await (await prepared(settings(tmp_path))).close()
    assert not (tmp_path / "admin-password").exists()


async def test_lost_key_file_stops_the_start(tmp_path: Path) -> None:
    await (await prepared(settings(tmp_path))).close()
    (tmp_path / "auth-key").unlink()
    with pytest.raises(KeyFileError, match="restore the file that belongs to this database"):
        await prepared(settings(tmp_path))


async def test_service_follows_its_secret_file(tmp_path: Path) -> None:
    await (await prepared(settings(tmp_path))).close()
    old = (tmp_path / "ml-secret").read_text()
    (tmp_path / "ml-secret").write_text("n" * 40 + "\n")
    service = await prepared(settings(tmp_path))
    assert (await service.identities.check_secret("ml", "n" * 40)).scopes == {"datasets.read", "auth.delegate"}
    with pytest.raises(Unauthenticated):
        await service.identities.check_secret("ml", old)
    await service.close()


async def test_secret_that_can_be_guessed_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "ml-secret").write_text("ml")
    with pytest.raises(BadSecretFileError, match="has 2 characters: put at least 32"):
        await prepared(settings(tmp_path))


async def test_unknown_scope_of_a_service_stops_the_start(tmp_path: Path) -> None:
    service = ServiceSetting(name="ml", secret_file=tmp_path / "s", scopes=("datasets.raed",))
    with pytest.raises(InvalidArgument, match=r"there is no scope 'datasets\.raed'"):
        await prepared(settings(tmp_path, bootstrap_services=(service,)))


@pytest.mark.parametrize(
    "text",
    [
        "ml=/a b/s=datasets.read,auth.delegate; reports=/r=models.read",
        '["ml=/a b/s=datasets.read,auth.delegate", "reports=/r=models.read"]',
    ],
)
def test_services_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FLARE_AUTH_BOOTSTRAP_SERVICES", text)
    assert [(each.name, str(each.secret_file), each.scopes) for each in Settings().bootstrap_services] == [
        ("ml", "/a b/s", ("datasets.read", "auth.delegate")),
        ("reports", "/r", ("models.read",)),
    ]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("bootstrap_services", "ml", "'ml' is not of the form name=secret-file=scope1,scope2"),
        ("bootstrap_services", "[3", "FLARE_AUTH_BOOTSTRAP_SERVICES"),
        ("bootstrap_services", "ML=/s=datasets.read", "FLARE_AUTH_BOOTSTRAP_SERVICES"),
        ("http_address", "0.0.0.0:50054", "can be reached from other machines and there is no TLS"),
        ("http_address", "50054", "is not HOST:PORT"),
        ("access_token_seconds", "0", "FLARE_AUTH_ACCESS_TOKEN_SECONDS"),
    ],
)
def test_wrong_setting_stops_the_start_with_its_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    text: str,
) -> None:
    monkeypatch.setenv(f"FLARE_AUTH_{name.upper()}", value)
    monkeypatch.setenv("FLARE_AUTH_DATA_DIRECTORY", str(tmp_path / "data"))
    assert main() == 1
    assert text in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


async def test_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "FLARE_AUTH_DATA_DIRECTORY": str(tmp_path),
        "FLARE_AUTH_LISTEN_ADDRESS": "127.0.0.1:0",
        "FLARE_AUTH_HTTP_ADDRESS": "127.0.0.1:0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auth_server", env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    async for line in process.stderr:
        if b"server_started" in line and b"http" not in line:
            break
    process.send_signal(signal.SIGTERM)
    rest = (await process.stderr.read()).decode()
    assert await process.wait() == 0
    assert re.search("server_stopped", rest)
    assert (tmp_path / "admin-password").read_text() not in rest
    assert (tmp_path / "auth.db").stat().st_mode & 0o777 == 0o600


async def test_taken_address_is_named(tmp_path: Path, unused_tcp_port: int) -> None:
    first = await prepared(settings(tmp_path / "a", http_address=f"127.0.0.1:{unused_tcp_port}"))
    await first.rpc.start()
    second = await prepared(settings(tmp_path / "b", http_address=f"127.0.0.1:{unused_tcp_port}"))
    with pytest.raises(OSError, match=f"can't listen on 127.0.0.1:{unused_tcp_port} for HTTP"):
        await second.rpc.start()
    await first.rpc.drain()
    await first.close()
    await second.close()
