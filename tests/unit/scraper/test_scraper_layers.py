"""Inside the scraper service imports point one way, and what decides sees neither messages nor SQL."""

import ast
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[3] / "scraper_server"
# What each folder may import of the others; a folder that is not named may import nothing.
LAYERS = {
    "archives": set[str](),
    "tables": {"archives"},
    "views": {"tables"},
    "sources": set[str](),
    "credentials": {"sources"},
    "datasets": {"tables", "views", "sources"},
    "uploads": {"tables", "datasets"},
    "imports": {"tables", "sources", "datasets", "uploads"},
    "rpc": {"tables", "views", "sources", "credentials", "datasets", "uploads", "imports"},
}
SQL = {"credentials/sql.py", "datasets/sql.py", "datasets/references.py", "sql_tables.py", "uploads/sql.py"}


def imported_by(file: Path) -> set[str]:
    found = set[str]()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("folder", LAYERS)
def test_a_folder_imports_only_what_lies_below_it(folder: str) -> None:
    files = list((SERVICE / folder).rglob("*.py"))
    assert files
    for file in files:
        for name in imported_by(file):
            service, _, rest = name.partition(".")
            other = rest.split(".")[0]
            if service == "scraper_server" and (SERVICE / other).is_dir() and other != folder:
                assert other in LAYERS[folder], f"{file.relative_to(SERVICE)} imports {name}"


def test_only_the_store_speaks_sql_and_only_the_servicer_speaks_messages() -> None:
    for file in SERVICE.rglob("*.py"):
        path = str(file.relative_to(SERVICE))
        packages = {name.split(".")[0] for name in imported_by(file)}
        assert "sqlalchemy" not in packages or path in SQL or path.startswith("migrations/versions/"), path
        assert not packages & {"flare", "grpc", "google"} or path.startswith("rpc/") or path == "composition.py", path
