"""Names and peers between the contract and the domain."""

import pytest

from auth_server.rpc import converters
from servicekit.errors import InvalidArgument


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.1.2.3:45678", "10.1.2.3"),
        ("ipv6:%5B::1%5D:45678", "[::1]"),
        ("ipv6:[2001:db8::7]:1", "[2001:db8::7]"),
        ("unix:/run/flare.sock", "unix:/run/flare.sock"),
        ("unix:", "unix:"),
    ],
)
def test_peer_is_counted_without_its_port(peer: str, host: str) -> None:
    assert converters.peer_host(peer) == host


@pytest.mark.parametrize(
    "name", ["", "ann", "accounts/", "accounts/Ann", "accounts/ann/x", "models/ann", "accounts/a\n"]
)
def test_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        converters.account_id(name)
    assert [violation.field for violation in caught.value.violations] == ["account.name"]


def test_account_name_holds_the_user_name() -> None:
    assert converters.account_id("accounts/ann.b-c_1") == "ann.b-c_1"
