"""The cookie that tells which session a browser has, and what browsers say of who asks."""

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie


def session_cookie(token: str, name: str, *, secure: bool) -> str:
    """Return the header that gives a browser its session.

    Scripts cannot read it. Of what other sites send, it comes with links that somebody follows alone.
    """
    return f"{name}={token}; Path=/; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"


def read_cookie(header: str | None, name: str) -> str | None:
    """Return the session's token from a Cookie header."""
    try:
        morsel = SimpleCookie(header or "").get(name)
    except CookieError:
        return None
    return None if morsel is None else morsel.value


def is_from_elsewhere(headers: Mapping[bytes, str]) -> bool:
    """Whether a browser says that another site asks; browsers say so to this machine, and over TLS."""
    return headers.get(b"sec-fetch-site", "none") not in ("same-origin", "none")


def is_opened(method: str, headers: Mapping[bytes, str]) -> bool:
    """Whether somebody opens a page, as opposed to a page that embeds or fetches it; true for what does not say."""
    return (
        method == "GET"
        and headers.get(b"sec-fetch-mode", "navigate") == "navigate"
        and headers.get(b"sec-fetch-dest", "document") == "document"
    )
