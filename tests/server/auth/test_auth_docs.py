"""The commands on the page about authorization do what it says."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

from auth_server.settings import Settings
from servicekit.settings import ServerSettings
from tests.server.auth.conftest import AuthServer

PAGE = (Path(__file__).parents[3] / "docs/concepts/authorization.md").read_text()


async def answer(server: AuthServer, *, method: str, **variables: str) -> dict[str, object]:
    """Runs the page's command that names `method`, with its addresses replaced by the server's."""
    [command] = [block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if method in block]
    command = command.replace("127.0.0.1:50053", server.address).replace("http://127.0.0.1:50054", server.http_url)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, env={**os.environ, **variables, "PATH": path}
    )
    written, _ = await process.communicate()
    assert process.returncode == 0
    answered: dict[str, object] = json.loads(written)
    return answered


async def test_commands_of_the_page_work(server: AuthServer) -> None:
    pair = await answer(server, method="/Login", PASSWORD=server.admin_password)
    token = str(pair["accessToken"])
    assert "refreshToken" in pair
    assert (await answer(server, method="/GetCaller", TOKEN=token))["subject"] == "accounts/admin"
    assert (await answer(server, method="/CreateAccount", TOKEN=token))["name"] == "accounts/ann"
    assert "secret" in await answer(server, method="/CreateServiceIdentity", TOKEN=token)
    assert "kid" in await answer(server, method="/RotateSigningKey", TOKEN=token)


def test_page_names_every_setting_of_its_own_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", PAGE, re.MULTILINE))
    inherited = ServerSettings.model_fields.keys() - {"listen_address", "token_issuer", "token_audience"}
    assert {name.lower() for name in rows} == Settings.model_fields.keys() - inherited
    for name, default in rows.items():
        value = Settings.model_fields[name.lower()].default
        if isinstance(value, str | int):
            assert default == f"`{value}`"
