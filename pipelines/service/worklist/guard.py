"""What stands before every answer of the page: whose it is, and what a browser may do with it."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from headclip_med.pipelines.service.worklist.access import OPEN_PATHS, Access
from headclip_med.write.pages.frame import policy_of

LONGEST_FORM = 10_000
"""Bytes of a request; a form of the page has some hundred."""

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard(BaseHTTPMiddleware):
    """Lets in whom ``access`` knows, under names that it knows, and closes every answer.

    Args:
        app: What is behind it.
        access: Who may come in.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        super().__init__(app)
        self._access = access

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Answer, or refuse to."""
        response = self._refusal(request) or await call_next(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Content-Security-Policy", closed(_policy()))
        return response

    def _refusal(self, request: Request) -> Response | None:
        if not self._access.knows_host(request.headers.get("host")):
            # A site whose name was bent to this address would else read the page.
            return PlainTextResponse("This page is not served under that name.", 421)
        user = self._access.user(request.headers.get("authorization"))
        if user is None and request.url.path not in OPEN_PATHS:
            challenge = {"WWW-Authenticate": 'Basic realm="headclip", charset="UTF-8"'}
            return PlainTextResponse("A name and a password are needed.", 401, challenge)
        if not _is_short(request.headers):
            return PlainTextResponse("That is too much for a form of this page.", 413)
        if request.headers.get("sec-fetch-site", "same-origin") == "cross-site" and (
            request.method != "GET"
        ):
            return PlainTextResponse("Another site's form is not taken.", 403)
        request.state.user = user or ""
        return None


def _is_short(headers: Headers) -> bool:
    """Whether a request says its length, and is no longer than a form of the page."""
    if "transfer-encoding" in headers:
        return False
    length = headers.get("content-length", "0")
    return length.isdecimal() and int(length) <= LONGEST_FORM


def closed(policy: str) -> str:
    """Forbid in addition that another page shows this one in itself."""
    return f"{policy}; frame-ancestors 'none'"


def _policy() -> str:
    return policy_of("service", images="'self'", forms="'self'")
