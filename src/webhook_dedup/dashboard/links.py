"""Addresses of pages, whatever an event id is made of."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request

__all__ = ["asked_of", "link"]

_MOST_FIELDS = 50


def link(request: Request, path: str, /, **asked: str | None) -> str:
    """Return the address of a page below where the dashboard is mounted.

    Args:
        request: Any request to it.
        path: Of the page.
        asked: Its query; what is empty is left out.
    """
    query = urlencode({k: v for k, v in asked.items() if v}, errors="surrogatepass")
    root = quote(request.scope.get("root_path", ""), errors="surrogatepass")
    return f"{root}/{path}{'?' if query else ''}{query}"


def asked_of(request: Request) -> Mapping[str, str]:
    """Return the query of a request, lone surrogates included; a field not there is empty.

    Raises:
        ValueError: It is none, or of too many fields.
    """
    query = request.scope.get("query_string", b"").decode("latin-1")
    return _Asked(parse_qsl(query, errors="surrogatepass", max_num_fields=_MOST_FIELDS))


class _Asked(dict[str, str]):
    """Fields of a query."""

    def __missing__(self, name: str) -> str:
        return ""
