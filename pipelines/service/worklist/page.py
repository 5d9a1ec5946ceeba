"""The worklist as a page of its own: what was found, where each series is, and two buttons."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route

from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.pipelines.service.database.opening import Database, UnusableDatabase
from headclip_med.pipelines.service.worklist.access import Access, read_passwords
from headclip_med.pipelines.service.worklist.again import resend, retry
from headclip_med.pipelines.service.worklist.entries import WorkEntry
from headclip_med.pipelines.service.worklist.files import TYPES, output_of, view_picture_of
from headclip_med.pipelines.service.worklist.guard import Guard, closed
from headclip_med.pipelines.service.worklist.metrics import WorkCollector, exposition
from headclip_med.pipelines.service.worklist.queries import (
    counts,
    entry_of_result,
    find,
    modalities,
    pauses,
    stale_strata,
)
from headclip_med.pipelines.service.worklist.settings import PageSettings
from headclip_med.pipelines.service.worklist.wanted import Wanted
from headclip_med.write.pages.frame import STUDY, own_policy, render
from headclip_med.write.pages.thumbnails import thumbnail

ACTIONS = {"retry": retry, "resend": resend}
CHOICES = "state", "judged", "delivery", "sort"
PER_PAGE = 20, 50, 100, 200
METRICS_TYPE = "text/plain; version=1.0.0; charset=utf-8"
NOT_HERE = "There is no such thing here."
SAID = {
    ("retry", True): "It is tried again.",
    ("retry", False): "It was not tried again: it does not stand where it failed any more.",
    ("resend", True): "It is sent again.",
    ("resend", False): "It was not sent again: it has no destination, or a later result has.",
}


def worklist_app(
    database: Database,
    out: Path,
    settings: PageSettings | None = None,
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """Build the page.

    Args:
        database: Of the folder of results.
        out: That folder.
        settings: Who may see it.
        clock: Gives Unix time.

    Raises:
        InvalidSettings: The file of passwords cannot be used.
    """
    settings = settings or PageSettings()
    file = settings.password_file
    passwords = None if file is None else read_passwords(Path(file))
    access = Access(passwords, (settings.host, *settings.names))
    views = Views(database, out, access, clock)
    app = Starlette(
        routes=[
            Route("/", views.worklist),
            Route("/act", views.act, methods=["POST"]),
            Route("/favicon.ico", _no_icon),
            Route("/health", views.health),
            Route("/metrics", views.metrics),
            Route("/results/{number:int}/thumbnail.jpg", views.picture),
            Route("/results/{number:int}/view", views.study),
            Route("/results/{number:int}/view/{name:str}", views.study_picture),
            Route("/results/{number:int}/{name:str}", views.file),
        ],
        exception_handlers={
            HTTPException: _told,
            HeadClipError: _refused,
            UnusableDatabase: _unreachable,
        },
    )
    app.add_middleware(Guard, access=access)
    return app


@dataclass(frozen=True)
class Views:
    """What is answered to what is asked; see ``worklist_app``."""

    database: Database
    out: Path
    access: Access
    clock: Callable[[], float]

    def worklist(self, request: Request) -> Response:
        """Show a page of the worklist."""
        wanted = _wanted(request.query_params)
        now = self.clock()
        with self.database.read() as session:
            content: dict[str, Any] = {
                "found": find(session, wanted, now),
                "counts": counts(session),
                "modalities": ["", *modalities(session)],
                "pauses": pauses(session, now),
                "stale": stale_strata(session),
            }
        page = render(
            "service",
            images="'self'",
            forms="'self'",
            wanted=wanted,
            token=self.access.token(request.state.user),
            said=_said(request),
            per_page=sorted({*PER_PAGE, wanted.per_page}),
            choices={name: Wanted.choices(name) for name in CHOICES},
            buttons=_buttons,
            **content,
        )
        return HTMLResponse(page)

    async def act(self, request: Request) -> Response:
        """Try series again, or send results again, and go back to the page."""
        async with request.form(max_files=0, max_fields=8) as form:
            token, action = str(form.get("token", "")), str(form.get("action", ""))
            number, back = str(form.get("number", "")), str(form.get("back", ""))
        if not self.access.is_token(request.state.user, token):
            raise HTTPException(403, "This form is not of this page, or an old one: load it again.")
        if action not in ACTIONS or not number.isdecimal():
            raise HTTPException(400, NOT_HERE)
        user = request.state.user
        count = await run_in_threadpool(ACTIONS[action], self.database, [int(number)], user)
        address = _wanted(_query(back)).to_address()
        joint = "&" if len(address) > 1 else ""
        return RedirectResponse(f"/{address}{joint}{action}={min(count, 1)}", status_code=303)

    def picture(self, request: Request) -> Response:
        """Give the small picture of a result."""
        path = output_of(self._entry(request), "picture", self.out)
        found = None if path is None else thumbnail(path)
        if found is None:
            raise HTTPException(404, NOT_HERE)
        headers = {"Cache-Control": "private, max-age=300"}
        return Response(found.content, media_type="image/jpeg", headers=headers)

    def file(self, request: Request) -> Response:
        """Give a file of a result, by the name of the output."""
        return _file(output_of(self._entry(request), request.path_params["name"], self.out))

    def study(self, request: Request) -> Response:
        """Show a result to scroll through; one of another version's script is only saved."""
        path = output_of(self._entry(request), "view", self.out)
        policy = None if path is None else own_policy(path, STUDY)
        if path is None or policy is None:
            return _file(path)
        return FileResponse(
            path, media_type="text/html", headers={"Content-Security-Policy": closed(policy)}
        )

    def study_picture(self, request: Request) -> Response:
        """Give a picture that lies beside it."""
        name = request.path_params["name"]
        return _file(view_picture_of(self._entry(request), name, self.out))

    def health(self, request: Request) -> Response:
        """Say in a word whether it works: ``ok`` or ``paused``; 503 where the database fails."""
        with self.database.read() as session:
            is_paused = bool(pauses(session, self.clock()))
        return JSONResponse({"status": "paused" if is_paused else "ok"})

    def metrics(self, request: Request) -> Response:
        """Give numbers to Prometheus."""
        collector = WorkCollector(self.database, self.out, self.clock)
        return Response(exposition(collector), media_type=METRICS_TYPE)

    def _entry(self, request: Request) -> WorkEntry:
        with self.database.read() as session:
            found = entry_of_result(session, request.path_params["number"], self.clock())
        if found is None:
            raise HTTPException(404, NOT_HERE)
        return found


def _file(path: Path | None) -> Response:
    """Give a file: one of the harmless kinds to be shown, any other to be saved."""
    if path is None:
        raise HTTPException(404, NOT_HERE)
    kind = TYPES.get(path.suffix)
    if kind is not None:
        return FileResponse(path, media_type=kind)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


def _buttons(entry: WorkEntry) -> list[tuple[str, str, int]]:
    """List what can be asked for of an entry: the action, its name, and the number it is for."""
    found = [("retry", "Try again", entry.job)] if entry.can_be_retried else []
    if entry.can_be_resent and entry.result is not None:
        found.append(("resend", "Send again", entry.result))
    return found


def _no_icon(request: Request) -> Response:
    return Response(status_code=204)  # browsers ask for one, and complain where there is none


def _query(text: str) -> dict[str, str]:
    return dict(parse_qsl(text.removeprefix("?"), max_num_fields=20))


def _wanted(given: Mapping[str, str]) -> Wanted:
    return Wanted.of_address({k: text for k, text in given.items() if k not in ACTIONS})


def _said(request: Request) -> str | None:
    """Say what the button did that led here."""
    done = ((name, request.query_params.get(name)) for name in ACTIONS)
    return next((SAID[name, count != "0"] for name, count in done if count is not None), None)


def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - how it is registered
    return PlainTextResponse(error.detail, error.status_code, error.headers)


def _refused(request: Request, error: Exception) -> Response:
    status = 400 if isinstance(error, InvalidSettings) else 500
    return PlainTextResponse(str(error), status)


def _unreachable(request: Request, error: Exception) -> Response:
    if request.url.path == "/health":
        return JSONResponse({"status": "no-database"}, 503)
    return PlainTextResponse(str(error), 503)
