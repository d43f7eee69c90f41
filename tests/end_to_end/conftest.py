"""What the tests of the clients in other languages share."""

import re
from collections.abc import Callable

import pytest

CheckExample = Callable[[str], None]
EPOCHS = 30


@pytest.fixture(scope="session")
def check_example() -> CheckExample:
    """Checks what a client's training example has printed, line by line."""

    def check(output: str) -> None:
        lines = iter(output.splitlines())

        def first(pattern: str) -> re.Match[str]:
            found = next((match for line in lines if (match := re.fullmatch(pattern, line))), None)
            assert found, f"no line '{pattern}' at its place in:\n{output}"
            return found

        first("logged in as accounts/admin")
        first(r"datasets/breast-cancer-\w+: 569 rows, 31 columns")
        first(r"datasets/\S+/views/by-diagnosis: \d+ rows train, \d+ validate, \d+ test")
        first(r"models/breast-cancer-\w+: \d+ parameters")
        epochs = [int(first(r"epoch +(\d+): train loss [\d.]+, validation loss [\d.]+")[1]) for _ in range(EPOCHS)]
        assert epochs == list(range(1, EPOCHS + 1)), output
        assert float(first(r"test accuracy: ([\d.]+)")[1]) >= 0.9, output
        first(r"trained models/breast-cancer-\w+/versions/1")
        first(r"diagnosis: malignant \(in truth malignant\)")
        probabilities = [float(first(r"  (benign|malignant): ([\d.]+)")[2]) for _ in range(2)]
        assert sum(probabilities) == pytest.approx(1, abs=1e-3), output

    return check
