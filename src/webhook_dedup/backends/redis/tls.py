"""TLS as URLs ask for it: what redis-py would misunderstand, or notice with the first command."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from redis.asyncio.connection import AbstractConnection

from ...errors import ConfigError
from .address import Address

__all__ = ["load_certificates", "tls_options"]

_UNCHECKED = ("none", ssl.CERT_NONE, None)
_FILES = ("ca_certs", "certfile", "keyfile")


def tls_options(address: Address, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what redis-py is to be told beyond a URL and other options.

    Raises:
        ConfigError: The URL asks for TLS in its query.
    """
    query = address.query
    if "ssl" in query:
        raise ConfigError("for TLS write rediss://… in place of ssl= in the Redis URL")
    if "ssl_cert_reqs" in query:  # Celery and Kombu write CERT_NONE
        query["ssl_cert_reqs"] = query["ssl_cert_reqs"].lower().removeprefix("cert_")
    given = {**options, **query}
    # redis-py 6 looks for the host's name in a certificate that it is told not to check.
    unchecked = given.get("ssl_cert_reqs", "required") in _UNCHECKED
    if address.scheme == "rediss" and unchecked and "ssl_check_hostname" not in given:
        return {"ssl_check_hostname": False}
    return {}


def load_certificates(connection: AbstractConnection) -> None:
    """Read the files that a connection would read when it connects.

    Raises:
        ConfigError: One of them cannot be used.
    """
    context = getattr(connection, "ssl_context", None)
    if context is None:
        return
    try:
        context.get()
    except OSError as error:  # of which those of ssl are
        named = (f"ssl_{name}={getattr(context, name)!a}" for name in _FILES)
        raise ConfigError(f"{error}: TLS cannot be had with {', '.join(named)}") from error
