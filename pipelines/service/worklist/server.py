"""The process that answers for the page."""

from __future__ import annotations

import uvicorn
from starlette.applications import Starlette

from headclip_med.pipelines.service.worklist.settings import PageSettings

MOST_AT_ONCE = 50
"""Requests that are worked on at the same time; more are told to come again."""

SILENT_S = 5
"""A connection on which nothing comes is closed after this."""


def page_server(app: Starlette, settings: PageSettings) -> uvicorn.Server:
    """Build what serves the page: ``run()`` serves until ``should_exit`` is set.

    Args:
        app: As ``worklist_app`` gives it.
        settings: Where it is served.
    """
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_certificate_file,
        ssl_keyfile=settings.tls_key_file,
        limit_concurrency=MOST_AT_ONCE,
        timeout_keep_alive=SILENT_S,
        server_header=False,
        # Addresses hold what was searched for, which may be a name.
        access_log=False,
        log_config=None,
        proxy_headers=False,
        ws="none",
        lifespan="off",
    )
    return uvicorn.Server(config)
