"""A token is shown or it is not."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from service.bearer import shows_token


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ("Bearer s3cret", True),
        ("bearer  s3cret ", True),
        ("Bearer s3cre", False),
        ("Bearer s3crets", False),
        ("Basic s3cret", False),
        ("s3cret", False),
        ("Bearer \u20ac", False),
        ("", False),
        (None, False),
    ],
)
def test_only_the_token_itself_is_the_token(header: str | None, shown: bool) -> None:
    assert shows_token(header, SecretStr("s3cret")) is shown
