"""`flare up`: what it leaves on disk, how it ends, and what it says when a service dies."""

import json
import signal
from pathlib import Path

import flare_client
import psutil
import pytest

from tests.services import FlareServices, start_services


def assert_that_a_service_that_dies_ends_all_with_the_name_of_its_log(services: FlareServices) -> None:
    supervisor = psutil.Process(services.process.pid)
    children = supervisor.children()
    assert len(children) == 3
    data = services.data_dir
    (scraper,) = [child for child in children if "scraper_server" in child.cmdline()]
    scraper.send_signal(signal.SIGKILL)
    assert services.process.wait(30) == 1
    others, complaint = data.with_name("data-up.log").read_text().splitlines()[-2:]
    assert others == "A service has ended: the others save what runs, and end too."
    assert complaint == f"flare: the scraper service was ended by SIGKILL (log: {data / 'logs' / 'scraper.log'})"
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert (len(gone), alive) == (3, [])


def test_a_stored_login_outlives_a_restart_on_the_same_folder_until_a_service_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLARE_CONFIG_DIR", str(tmp_path / "config"))
    first = start_services(tmp_path / "data")
    flare_client.login(
        first.username, first.password, auth=first.auth_address, scraper=first.scraper_address, ml=first.ml_address
    )
    with flare_client.connect() as flare:
        dataset = flare.datasets.import_("iris").wait()
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(30) == 0

    addresses = json.loads((tmp_path / "data" / "addresses.json").read_text())
    second: FlareServices = start_services(
        tmp_path / "data",
        *("--auth-address", addresses["auth"]),
        *("--scraper-address", addresses["scraper"]),
        *("--ml-address", addresses["ml"]),
    )
    with flare_client.connect() as flare:
        assert flare.datasets.get("iris").digest == dataset.digest
    assert second.password == first.password
    for secret in ("admin-password", "ml-service-secret", "credentials-keys"):
        assert (tmp_path / "data" / secret).stat().st_mode & 0o777 == 0o600
    assert_that_a_service_that_dies_ends_all_with_the_name_of_its_log(second)
