"""Whether a request shows the operator's token."""

from __future__ import annotations

import hmac

from pydantic import SecretStr


def shows_token(authorization: str | None, secret: SecretStr) -> bool:
    """Whether ``Authorization`` is ``Bearer`` with this secret, told in a time that tells nothing of it.

    Args:
        authorization: the header; None: there is none.
        secret: what is to be shown.
    """
    scheme, _, given = (authorization or "").partition(" ")
    wanted = secret.get_secret_value().encode()
    return hmac.compare_digest(given.strip().encode("latin-1", "replace"), wanted) and scheme.lower() == "bearer"
