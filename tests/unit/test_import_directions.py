"""Who may import whom. The tree is a map only as long as its arrows point one way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SERVICES = ("auth_server", "ml_server", "scraper_server")
# Generated code is for those who speak to the outside: a service's rpc/, its composition, and its clients of others.
SPEAKERS = ("rpc/", "composition.py", "views/scraper.py", "views/image_messages.py", "batch_prediction/scraper.py")

# What each folder of the ML service may import of the others; a folder that is not named may import nothing.
ML_LAYERS = {
    "networks": set(),
    "features": {"networks"},
    "views": {"features"},
    "engines": {"networks"},
    "registry": {"networks", "features", "views", "engines"},
    "training": {"networks", "features", "views", "engines", "registry", "monitoring"},
    "tracking": {"registry", "training"},
    "prediction": {"networks", "features", "engines", "registry"},
    "monitoring": {"networks", "features", "engines", "registry", "prediction"},
    "sweeps": {"networks", "features", "views", "registry", "training"},
    "evaluation": {"networks", "features", "views", "registry", "prediction"},
    "batch_prediction": {"networks", "features", "views", "engines", "registry", "prediction"},
    "explanation": {"networks", "features", "registry", "prediction"},
    "rpc": {
        "networks",
        "features",
        "views",
        "engines",
        "registry",
        "training",
        "sweeps",
        "prediction",
        "evaluation",
        "monitoring",
        "batch_prediction",
        "explanation",
    },
}


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("service", SERVICES)
def test_services_talk_through_the_contracts_only(service: str) -> None:
    others = tuple(other for other in (*SERVICES, "flare_client") if other != service)
    guilty = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in _modules(service)
        for name in _imports(file)
        if name.split(".")[0] in others
    ]
    assert not guilty


def test_what_services_share_knows_no_service_and_no_client() -> None:
    guilty = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in _modules("servicekit")
        for name in _imports(file)
        if name.split(".")[0] in (*SERVICES, "flare_client")
    ]
    assert not guilty


def test_the_client_stands_without_the_servers() -> None:
    guilty = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in _modules("clients/python/flare_client")
        for name in _imports(file)
        if name.split(".")[0] in (*SERVICES, "servicekit")
    ]
    assert not guilty


@pytest.mark.parametrize("service", SERVICES)
def test_domain_code_sees_no_generated_code(service: str) -> None:
    guilty = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in _modules(service)
        for name in _imports(file)
        if name.split(".")[0] in ("flare", "buf") and not str(file.relative_to(ROOT / service)).startswith(SPEAKERS)
    ]
    assert not guilty


@pytest.mark.parametrize("folder", ML_LAYERS)
def test_the_layers_of_the_ml_service_point_one_way(folder: str) -> None:
    guilty = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in _modules(f"ml_server/{folder}")
        for name in _imports(file)
        if name.startswith("ml_server.") and name.split(".")[1] not in ML_LAYERS[folder] | {folder, "tables"}
    ]
    assert not guilty


def test_every_module_of_a_service_is_seen() -> None:
    assert all(len(_modules(service)) > 10 for service in SERVICES)
