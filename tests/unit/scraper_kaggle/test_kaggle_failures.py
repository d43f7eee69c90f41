from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from scraper_server.sources.kaggle.accounts import Account
from scraper_server.sources.kaggle.failures import Question, retry_after_seconds, translated
from scraper_server.sources.kaggle.options import KaggleOptions
from scraper_server.sources.kaggle.partial import Announced
from servicekit.errors import Reason, Unavailable


def answer(**headers: str) -> requests.Response:
    response = requests.Response()
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return response


@pytest.mark.parametrize(
    ("value", "seconds"), [("", None), ("12", 12), ("0", 0), ("-5", None), ("soon", None), ("1e9", None)]
)
def test_retry_after_is_read_as_seconds(value: str, seconds: float | None) -> None:
    assert retry_after_seconds(answer(Retry_After=value)) == seconds


def test_retry_after_is_read_as_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=90), usegmt=True)
    assert retry_after_seconds(answer(Retry_After=soon)) == pytest.approx(90, abs=5)
    assert retry_after_seconds(answer(Retry_After=past)) == 0


def test_the_package_giving_up_does_not_end_the_server() -> None:
    with pytest.raises(Unavailable) as caught, translated(Question("data set 'a/b'", Account(), "a/b")):
        raise SystemExit(1)
    assert caught.value.reason == Reason.SOURCE_UNAVAILABLE


def test_the_checksum_is_found_among_others() -> None:
    headers = {"X_Goog_Hash": "crc32c=AAAAAA==, md5=XrY7u+Ae7tCTyyK7j1rNww==", "Content_Length": "11"}
    assert Announced.by(answer(**headers, ETag='"a"')) == Announced('"a"', 11, "XrY7u+Ae7tCTyyK7j1rNww==")


def test_a_weak_validator_is_not_gone_on_with() -> None:
    assert Announced.by(answer(ETag='W/"a"')).validator == ""
    assert Announced.by(answer(ETag='W/"a"', Last_Modified="date")).validator == "date"


def test_a_body_in_chunks_has_an_end_though_no_length() -> None:
    assert Announced.by(answer()) == Announced("", 0, "")
    assert Announced.by(answer(Transfer_Encoding="chunked")) == Announced("", 0, "", has_end_mark=True)


def test_an_endpoint_without_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="FLARE_SCRAPER_KAGGLE_ENDPOINT 'localhost:80'"):
        KaggleOptions(endpoint="localhost:80")
