"""What Kaggle's errors mean, in Flare's words. Addresses are left out of messages: a signed one is a secret."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
import urllib3.exceptions

from scraper_server.sources.kaggle.accounts import Account, Whose
from servicekit.errors import (
    FailedPrecondition,
    FlareError,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
    Unavailable,
)

LONGEST_QUOTE = 200
SETTINGS_PAGE = "https://www.kaggle.com/settings"
OPERATORS_REMEDY = (
    "set your own credentials with SetSourceCredentials, or let the operator set FLARE_SCRAPER_KAGGLE_USERNAME and "
    f"FLARE_SCRAPER_KAGGLE_KEY, or FLARE_SCRAPER_KAGGLE_TOKEN, to some made at {SETTINGS_PAGE} and restart the server"
)
REMEDIES = {
    Whose.OPERATOR: OPERATORS_REMEDY,
    Whose.OWN: f"make new credentials at {SETTINGS_PAGE} and set them with SetSourceCredentials, or go on with the "
    "server's after DeleteSourceCredentials",
    Whose.OFFERED: f"nothing was kept; compare them with those at {SETTINGS_PAGE}, or make new ones there",
}


@dataclass(frozen=True)
class Question:
    """What Kaggle was asked, as messages need it."""

    subject: str
    """Such as "data set 'uciml/iris'"."""
    account: Account
    ref: str = ""
    """The data set, if it is about one."""
    has_cursor: bool = False


@contextmanager
def translated(question: Question) -> Iterator[None]:
    """Turns what the `kaggle` package and requests raise in the block into a FlareError."""
    try:
        yield
    except requests.HTTPError as error:
        if error.response is None:
            raise _unavailable(question, "an answer that can't be read") from error
        raise refusal(question, error.response) from error
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise _unreachable("does not answer in time", question) from error
    except requests.exceptions.SSLError as error:
        raise _unreachable("can't be reached over TLS (its certificate is not accepted)", question) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # No JSON, or JSON of another shape: a maintenance page, a proxy's page, a newer API.
        raise _unavailable(question, "something that is not its API's JSON") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _unreachable("can't be reached, or the connection broke", question) from error
    except SystemExit as error:  # the package exits where others raise
        raise _unavailable(question, "something that the kaggle package gives up at") from error


def refusal(question: Question, response: requests.Response) -> FlareError:
    """The error that an answer with an error status means."""
    status, said = _status_and_message(response)
    said = question.account.without_secret(said)
    quote = f" (Kaggle says: {said})" if said else ""
    match status:
        # So Kaggle answers for an access token that it can't read.
        case 400 | 404 | 410 if question.account.whose is Whose.OFFERED:
            return rejected(question, quote)
        case 401:
            return rejected(question, quote)
        case 403 if question.account.is_anonymous or not question.ref:
            return rejected(question, quote)
        case 403 | 404 | 410:
            return NotFound(
                Reason.SOURCE_NOT_FOUND,
                f"Kaggle has no {question.subject}, or does not show it to {question.account.described()}{quote}: "
                + (f"compare https://www.kaggle.com/datasets/{question.ref}" if question.ref else "check the name"),
                resource=question.ref or None,
            )
        case 429:
            seconds = retry_after_seconds(response)
            return ResourceExhausted(
                Reason.SOURCE_RATE_LIMITED,
                f"Kaggle limits how often it may be asked for {question.subject}: "
                + (f"try again in {seconds:.0f} s" if seconds is not None else "try again in some minutes"),
                retry_after_seconds=seconds,
            )
        case 400 if question.has_cursor:
            return InvalidArgument(
                Reason.INVALID_PAGE_TOKEN,
                f"Kaggle does not accept the page token for {question.subject}{quote}: start at the first page",
                field="page_token",
            )
        case _:
            return _unavailable(question, f"HTTP status {status}{quote}", retry_after_seconds(response))


def web_page(question: Question) -> FlareError:
    """The error that a web page in a file's place means: without credentials a page to log in at, else an outage."""
    if question.account.is_anonymous:
        return rejected(question)
    return _unavailable(question, "a web page")


def rejected(question: Question, quote: str = "") -> FlareError:
    """The error that Kaggle refuses an account, or wants one."""
    account = question.account
    if account.is_anonymous:
        refused = f"Kaggle does not show {question.subject} without credentials{quote}: check the name, or"
    else:
        refused = f"Kaggle refuses {account.described()} for {question.subject}{quote}:"
    return FailedPrecondition(Reason.SOURCE_CREDENTIALS_REJECTED, f"{refused} {REMEDIES[account.whose]}")


def retry_after_seconds(response: requests.Response) -> float | None:
    """How long the answer asks to wait, from `Retry-After` as seconds or as a date; None if it does not say."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):  # absent, no date, or a date without zone
        return None


def _unreachable(what: str, question: Question) -> FlareError:
    return Unavailable(
        Reason.SOURCE_UNAVAILABLE,
        f"Kaggle {what}, asked for {question.subject}: try again later; if it stays so, check the server's network, "
        "HTTPS_PROXY and FLARE_SCRAPER_KAGGLE_ENDPOINT",
    )


def _unavailable(question: Question, answer: str, retry_after: float | None = None) -> FlareError:
    return Unavailable(
        Reason.SOURCE_UNAVAILABLE,
        f"Kaggle, asked for {question.subject}, answered with {answer}: try again later",
        retry_after_seconds=retry_after,
    )


def _status_and_message(response: requests.Response) -> tuple[int, str]:
    """The status and what Kaggle says about it. Its JSON may hold an error under a good HTTP status."""
    status, message = response.status_code, ""
    if "application/json" in response.headers.get("Content-Type", ""):
        try:
            body = response.json()
        except (ValueError, requests.RequestException):
            body = None
        if isinstance(body, dict):
            message = str(body.get("message", ""))[:LONGEST_QUOTE]
            if status < 400 and isinstance(body.get("code"), int):
                status = body["code"]
    return status, message
