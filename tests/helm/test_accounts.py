"""serviceaccount.yaml, secret.yaml, extraobjects.yaml."""

from __future__ import annotations

from tests.helm.conftest import Render, of_kind, only


def test_an_account_without_a_token(render: Render) -> None:
    account = only(render("default"), "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert of_kind(render("extras"), "ServiceAccount") == []


def test_keys_are_made_or_taken(render: Render) -> None:
    secret = only(render("fetch"), "Secret")
    assert set(secret["stringData"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert of_kind(render("extras"), "Secret") == []
    assert of_kind(render("default"), "Secret") == []
