"""What a person or a watcher looks at: health, metrics, the page and the reference."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from gputx_remote.server import page, reference
from gputx_remote.server.asking import ERRORS, Asking, Here
from gputx_remote.server.errors import RefusedError
from gputx_remote.server.service import Service
from gputx_remote.server.shapes import Health, HealthStatus

router = APIRouter(responses=ERRORS)

_ROOT = "index.html"


@router.get("/health", response_model=Health, responses={503: {"model": Health, "description": "not for work"}})
async def health(service: Here) -> Response:
    """How the server is. No token; 503 while the model is loaded, when it broke, and when the server is to end."""
    rooms = service.rooms
    shape = Health(
        status=_status(service),
        gpu_available=rooms is not None and rooms.engine.device == "cuda",
        model_loaded=rooms is not None,
        memory_usage=service.memory.said(),
    )
    return JSONResponse(shape.model_dump(), 200 if shape.status == "healthy" else 503)


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
)
async def metrics(service: Here, _person: Asking) -> Response:
    """For Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/", include_in_schema=False)
async def root(request: Request) -> Response:
    """The page."""
    return _asset(request, _ROOT)


@router.get("/page/{name}", include_in_schema=False)
async def asset(request: Request, name: str) -> Response:
    """What the page is made of."""
    return _asset(request, name)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The reference, as a page."""
    text = reference.render(request.app.openapi())
    return HTMLResponse(text, headers={"Content-Security-Policy": reference.CONTENT_SECURITY_POLICY})


def _status(service: Service) -> HealthStatus:
    if service.failing:
        return "failing"
    if service.draining:
        return "draining"
    return "loading" if service.rooms is None else "healthy"


def _asset(request: Request, name: str) -> Response:
    if name not in page.NAMES:
        raise RefusedError(404, "not_found", "the page has no such file")
    found = page.asset(name)
    headers = {
        "Content-Security-Policy": page.CONTENT_SECURITY_POLICY,
        "Permissions-Policy": page.PERMISSIONS_POLICY,
        "Cache-Control": "no-cache",
        "ETag": found.etag,
    }
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)
