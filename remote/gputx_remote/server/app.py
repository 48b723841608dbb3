"""The app: every route, every way to fail, and the frame round them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI

from gputx_remote import __version__
from gputx_remote.server import errors, routes_jobs, routes_live, routes_openai, routes_site, routes_transcribe
from gputx_remote.server.frame import Frame
from gputx_remote.server.service import Service
from gputx_remote.server.standing import Standing


def create_app(service: Service) -> FastAPI:
    """The server's HTTP surface, over a service whose rooms may come later."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        watchers = [asyncio.create_task(service.keep_awake()), asyncio.create_task(service.watch_memory())]
        try:
            yield
        finally:
            for task in watchers:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    app = FastAPI(
        title="gputx",
        version=__version__,
        description="Speech to text. Every address but /health wants `Authorization: Bearer TOKEN`.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    service.metrics.watch(Standing(service))
    for module in (routes_transcribe, routes_openai, routes_jobs, routes_live, routes_site):
        app.include_router(module.router)
    errors.install(app)
    app.add_middleware(Frame, metrics=service.metrics)
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Have shapes that are only referred to by name in the OpenAPI document as well."""
    whole = app.openapi

    def described() -> dict[str, Any]:
        document = whole()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for shape in routes_openai.DESCRIBED:
            if shape.__name__ not in schemas:
                schema = shape.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas |= schema.pop("$defs", {})
                schemas[shape.__name__] = schema
        return document

    app.openapi = described  # type: ignore[method-assign]
