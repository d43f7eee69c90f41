"""The page of settings is that of the settings classes."""

from tools.settings_page import PAGE, page


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `python -m tools.settings_page`"
