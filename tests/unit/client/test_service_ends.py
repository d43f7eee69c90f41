"""What `flare up` says of a service that ended before it was asked to."""

from pathlib import Path

import pytest
from flare_client.services.child import Child

ENTRY = '{"event": "server_stopped"}'


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (f"print('{ENTRY}')", "ended in good order, as SIGTERM makes it"),
        (
            f"import sys; print('port 1 is taken'); print('{ENTRY}'); sys.exit(1)",
            "ended with status 1: port 1 is taken",
        ),
        (f"import sys; print('{ENTRY}'); sys.exit(2)", "ended with status 2"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
    ],
)
def test_the_end_of_a_service_is_told_in_words(program: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "made_server.py").write_text(program)
    log = tmp_path / "made.log"
    child = Child("made", {"PYTHONPATH": str(tmp_path)}, log, log_to_terminal=False)
    assert child.wait(30)
    assert child.describe_end() == f"the made service {told} (log: {log})"
