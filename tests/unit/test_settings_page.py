"""The pages of settings and limits are those of the settings classes."""

from scraper_server.settings import Settings
from servicekit.settings import ServerSettings
from tools import limits_page, settings_page


def test_the_page_of_settings_is_up_to_date() -> None:
    assert settings_page.PAGE.read_text() == settings_page.page(), "run `python -m tools.settings_page`"


def test_the_page_of_limits_is_up_to_date() -> None:
    assert limits_page.PAGE.read_text() == limits_page.page(), "run `python -m tools.limits_page`"


def test_every_limit_is_on_the_page_with_a_reason_of_its_own() -> None:
    own = Settings.model_fields.keys() - ServerSettings.model_fields.keys()
    limits = {name for name in own if name.startswith(("max_", "quota"))}
    assert limits_page.LIMITS.keys() >= limits
    reasons = [limit.reason for limit in limits_page.LIMITS.values()]
    assert len(set(reasons)) == len(reasons)
