"""`Retry-After` in all its forms, and in none."""

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb.client.errors import retry_after_seconds

NOON = "Sun, 06 Nov 1994 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": " 7 "}, 7.0),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Sun, 06 Nov 1994 12:00:30 GMT", "Date": NOON}, 30.0),
        ({"Retry-After": "Sun, 06 Nov 1994 12:00:30 -0000", "Date": NOON}, 30.0),
        ({"Retry-After": "Sun, 06 Nov 1994 14:00:30 +0200", "Date": NOON}, 30.0),
        ({"Retry-After": "Sun, 06 Nov 1994 11:59:00 GMT", "Date": NOON}, 0.0),
        ({"Retry-After": "Sun, 06 Nov 1994 25:00:00 GMT", "Date": NOON}, None),
        ({"Retry-After": NOON}, 0.0),
    ],
)
def test_seconds_and_dates_are_read(headers: dict[str, str], seconds: float | None) -> None:
    """Whole seconds, or a date against the answer's own; anything else says nothing."""
    assert retry_after_seconds(headers) == seconds


def test_date_without_a_date_of_the_answer_goes_by_the_clock() -> None:
    """An answer need not say when it was made."""
    seconds = retry_after_seconds({"Retry-After": formatdate(time.time() + 1000, usegmt=True)})

    assert seconds is not None
    assert 0 < seconds <= 1000


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_header_is_read_or_passed_over(retry_after: str, date: str) -> None:
    """What a server makes up raises nothing."""
    seconds = retry_after_seconds({"Retry-After": retry_after, "Date": date})

    assert seconds is None or seconds >= 0
