"""The images and the compose file: well-formed, and in step with the services' settings."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import BaseSettings

import auth_server.settings
import ml_server.settings
import scraper_server.settings
from servicekit.settings import ServerSettings

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
TOOLS = Path(sys.executable).parent
SETTINGS: dict[str, type[ServerSettings]] = {
    "auth": auth_server.settings.Settings,
    "scraper": scraper_server.settings.Settings,
    "ml": ml_server.settings.Settings,
}
PORTS = {"auth": 50053, "scraper": 50052, "ml": 50051}


def run(*command: str | Path) -> str:
    """What the tool writes; its complaint fails the test."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file as compose understands it."""
    written = run(TOOLS / "docker-compose", "--file", "deploy/compose.yaml", "config", "--format", "json")
    understood: dict[str, Any] = json.loads(written)
    return understood


def stages() -> dict[str, list[str]]:
    """The lines of the Dockerfile by the name of their stage."""
    found: dict[str, list[str]] = {}
    for line in DOCKERFILE.read_text().replace("\\\n", " ").splitlines():
        if line.startswith("FROM "):
            name = line.split(" AS ")[1]
            found[name] = []
        elif found:
            found[name].append(line)
    return found


def test_dockerfile_passes_hadolint() -> None:
    run(TOOLS / "hadolint", DOCKERFILE)


def test_compose_file_is_valid() -> None:
    run(TOOLS / "docker-compose", "--file", "deploy/compose.yaml", "config", "--quiet")


@pytest.mark.parametrize("service", SETTINGS)
def test_image_runs_its_service_without_root(service: str) -> None:
    lines = stages()
    assert "USER 10001:10001" in lines["runtime"]
    assert not any(line.startswith("USER") for line in lines[service])
    assert f'CMD ["python", "-m", "{service}_server"]' in lines[service]
    assert any(f'"servicekit.probe", "127.0.0.1:{PORTS[service]}"' in line for line in lines[service])


def test_image_is_built_from_files_that_exist() -> None:
    copied = [line.split()[1:-1] for line in stages()["build"] if line.startswith("COPY ")]
    sources = [source for line in copied for source in line]
    assert "auth_server" in sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    let_in = {line.removeprefix("!").removesuffix("/**") for line in ignore_lines() if line.startswith("!")}
    assert let_in == set(sources)


def ignore_lines() -> list[str]:
    return DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()


@pytest.mark.parametrize("service", SETTINGS)
def test_every_variable_is_a_setting_with_an_acceptable_value(
    monkeypatch: pytest.MonkeyPatch, compose: dict[str, Any], service: str
) -> None:
    settings = SETTINGS[service]
    prefix = settings.model_config["env_prefix"]
    variables = compose["services"][service]["environment"]
    for name, value in variables.items():
        assert name.startswith(prefix)
        assert name.removeprefix(prefix).lower() in settings.model_fields
        monkeypatch.setenv(name, value)
    read: BaseSettings = settings()  # type: ignore[call-arg]  # from the environment
    assert read.model_dump()["listen_address"] == f"0.0.0.0:{PORTS[service]}"


def test_services_agree_on_issuer_identity_and_secret(compose: dict[str, Any]) -> None:
    environment = {name: service["environment"] for name, service in compose["services"].items()}
    issuer = environment["auth"]["FLARE_AUTH_TOKEN_ISSUER"]
    assert environment["scraper"]["FLARE_SCRAPER_TOKEN_ISSUER"] == environment["ml"]["FLARE_ML_TOKEN_ISSUER"] == issuer
    for variables, prefix in ((environment["scraper"], "FLARE_SCRAPER"), (environment["ml"], "FLARE_ML")):
        assert variables[f"{prefix}_JWKS_URL"] == f"{issuer}/.well-known/jwks.json"
    assert environment["ml"]["FLARE_ML_TOKEN_URL"] == f"{issuer}/oauth2/token"
    made = auth_server.settings.ServiceSetting.parse(environment["auth"]["FLARE_AUTH_BOOTSTRAP_SERVICES"])
    assert made.name == environment["ml"]["FLARE_ML_SERVICE_IDENTITY"]
    assert str(made.secret_file) == environment["ml"]["FLARE_ML_SERVICE_SECRET_FILE"]
    assert set(made.scopes) == {"datasets.read", "datasets.write", "auth.delegate"}


@pytest.mark.parametrize("service", SETTINGS)
def test_only_this_machine_reaches_the_services(compose: dict[str, Any], service: str) -> None:
    [port] = compose["services"][service]["ports"]
    assert (port["host_ip"], port["target"], port["published"]) == ("127.0.0.1", PORTS[service], str(PORTS[service]))


@pytest.mark.parametrize("service", SETTINGS)
def test_data_outlives_the_container(compose: dict[str, Any], service: str) -> None:
    mounts = {mount["target"]: mount for mount in compose["services"][service]["volumes"]}
    assert mounts["/data"]["type"] == "volume"
    assert mounts["/data"]["source"] == f"{service}-data"
    assert f"FLARE_{service.upper()}_DATA_DIRECTORY=/data" in " ".join(stages()[service])


def test_keys_lie_apart_from_the_data_that_they_protect(compose: dict[str, Any]) -> None:
    scraper = compose["services"]["scraper"]
    mounts = {mount["target"]: mount["source"] for mount in scraper["volumes"]}
    file = Path(scraper["environment"]["FLARE_SCRAPER_CREDENTIALS_KEYS_FILE"])
    assert mounts[str(file.parent)] == "scraper-secrets"
    others = [mount["source"] for name in ("auth", "ml") for mount in compose["services"][name]["volumes"]]
    assert "scraper-secrets" not in others


def test_services_start_after_those_they_need(compose: dict[str, Any]) -> None:
    needs = {
        name: {needed: how["condition"] for needed, how in service.get("depends_on", {}).items()}
        for name, service in compose["services"].items()
    }
    healthy = "service_healthy"
    assert needs == {"auth": {}, "scraper": {"auth": healthy}, "ml": {"auth": healthy, "scraper": healthy}}


@pytest.mark.parametrize("service", SETTINGS)
def test_containers_get_time_to_drain(compose: dict[str, Any], service: str) -> None:
    described = compose["services"][service]
    drain = float(described["environment"][f"FLARE_{service.upper()}_DRAIN_SECONDS"])
    assert described["stop_grace_period"] == "40s"
    assert drain < 40
