"""The page at ``/``: plain files that a browser runs as they are. No build step, nothing fetched from elsewhere.

``index.html`` is served at the root; every other file at ``page/NAME`` beside it, so that the page also works below a
prefix. Whatever it knows of the server's routes stands in ``server.js``. Nothing here imports a web framework.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        # The microphone's worklet is a script, too.
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        # Covers the WebSocket: in CSP 3 'self' matches ws and wss of the page's own host.
        "connect-src 'self'",
        # What a person dropped or recorded is played from the browser's memory.
        "media-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What the page needs and not more. It has no inline script, no inline style and no ``eval``."""

PERMISSIONS_POLICY = "microphone=(self), camera=(), geolocation=()"
"""The microphone is used when a person asks for it, nothing else ever."""

_MEDIA_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    **dict.fromkeys(
        (
            "app.js",
            "editing.js",
            "languages.js",
            "marks.js",
            "microphone.js",
            "options.js",
            "player.js",
            "queue.js",
            "recording.js",
            "server.js",
            "session.js",
            "texts.js",
            "transcript.js",
            "view.js",
            "writers.js",
        ),
        "text/javascript; charset=utf-8",
    ),
}

NAMES: tuple[str, ...] = tuple(_MEDIA_TYPES)
"""Every file there is; a name that is not one of these is served to nobody."""


@dataclass(frozen=True)
class Asset:
    """One file as it goes out."""

    content: bytes
    media_type: str
    etag: str
    """Quoted, as the header has it: a hash of the content. With ``no-cache`` an upgrade shows at once."""


@cache
def asset(name: str) -> Asset:
    """A file of the page, from wherever the package lies: a directory, a wheel or the payload's zip.

    Raises:
        KeyError: the page has no file of this name.
    """
    media_type = _MEDIA_TYPES[name]
    content = resources.files(__name__).joinpath(name).read_bytes()
    return Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
