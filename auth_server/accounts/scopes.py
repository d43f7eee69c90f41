"""What a token can permit. The contracts say which scope each method requires."""

from collections.abc import Iterable

from servicekit.errors import InvalidArgument, Reason, Violation

AUTH_ADMIN = "auth.admin"
AUTH_DELEGATE = "auth.delegate"

ALL_SCOPES = (
    "auth.read",
    AUTH_ADMIN,
    AUTH_DELEGATE,
    "datasets.read",
    "datasets.write",
    "models.read",
    "models.write",
    "training.read",
    "training.write",
    "predictions.read",
)
# To act for others is for services: no person gets it unasked.
ADMINISTRATOR_SCOPES = frozenset(ALL_SCOPES) - {AUTH_DELEGATE}
PERSON_SCOPES = ADMINISTRATOR_SCOPES - {AUTH_ADMIN}


def known_scopes(scopes: Iterable[str], field: str) -> frozenset[str]:
    """The scopes as a set.

    Raises:
        InvalidArgument: One of them does not exist; names it at its place in `field`, the path of the list.
    """
    asked = list(scopes)
    violations = [
        Violation(f"{field}[{index}]", f"there is no scope '{scope}'; there are {', '.join(ALL_SCOPES)}")
        for index, scope in enumerate(asked)
        if scope not in ALL_SCOPES
    ]
    if violations:
        raise InvalidArgument(
            Reason.INVALID_FIELD,
            "; ".join(f"{violation.field}: {violation.description}" for violation in violations),
            violations=violations,
        )
    return frozenset(asked)
