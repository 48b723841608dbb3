"""A multipart form as its bytes come: text fields are collected, a recording's bytes wait to be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from gputx_remote.server.errors import RefusedError
from gputx_remote.server.settings import RequestLimits

Look = Callable[[Mapping[str, Sequence[str]]], object]

SILENT_BYTES = 1 << 10
"""Of a form that say nothing: blanks behind a boundary, which the parser takes one by one. Nobody sends any."""

CLOSE = {"Connection": "close"}
"""With an answer that comes before the body has: what is left of it is not read."""


@dataclass
class Form:
    """What was sent."""

    file: Path
    """The recording, on disk. It is gone when the block of :func:`receive` ends, unless it was moved away."""
    size: int = 0
    fields: dict[str, list[str]] = field(default_factory=dict)
    """Text by name; a name may come several times."""


class Parts:
    """The parser's callbacks: text fields are collected, the recording's bytes wait to be written."""

    def __init__(self, boundary: bytes, limits: RequestLimits, form: Form, name: str, look: Look) -> None:
        self.pending = bytearray()
        self._form = form
        self._limits = limits
        self._name = name
        self._look = look
        self._seen = 0
        self._delimiter = b"\r\n--" + boundary
        self._delimiters = 0
        self._silent = 0
        self._file_seen = False
        self._ended = False
        self._header_name = self._header_value = b""
        self._disposition = b""
        self._take: Callable[[bytes], None] = self._text
        self._field = ""
        self._value = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Parse a piece of the body.

        Raises:
            RefusedError: it can't be one.
        """
        # A form has one more of them than fields; in a recording they may not be (RFC 2046, 5.1). The parser would look
        # at each that is none after all byte by byte, a few megabytes a second.
        self._delimiters += chunk.count(self._delimiter)
        if self._delimiters > self._limits.fields + 1:
            raise _too_many(self._limits)
        self._silent += len(chunk)
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise no_form("the body is not the multipart form its header says") from error
        if self._silent > SILENT_BYTES and not self._ended:
            raise no_form("there is nothing but blanks in it")

    def finished(self) -> Form:
        """The form, once all of the body was fed.

        Raises:
            RefusedError: it was cut short, or there is no recording in it.
        """
        if not self._ended:
            raise no_form("the form was cut short: its closing boundary is missing")
        if not self._file_seen:
            raise RefusedError(
                400, "missing_file", f"no recording: send it as the field {self._name!r}", param=self._name
            )
        if not self._form.size:
            raise RefusedError(400, "empty_file", "the recording is empty: it has 0 bytes", param=self._name)
        return self._form

    def _begin(self) -> None:
        self._silent = 0
        self._seen += 1
        if self._seen > self._limits.fields:
            raise _too_many(self._limits)
        self._disposition = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._silent = 0
        self._take(data[start:end])

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._silent = 0
        self._header_name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._silent = 0
        self._header_value += data[start:end]

    def _on_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise no_form("a part of the form has no name")
        self._field = options[b"name"].decode("utf-8", "replace")
        self._value = bytearray()
        self._take = self._text
        if self._field != self._name:
            if b"filename" in options:
                raise RefusedError(
                    400, "unknown_file", f"send the recording as the field {self._name!r}", headers=CLOSE
                )
            return
        if self._file_seen:
            raise RefusedError(400, "several_files", "one recording at a time", param=self._name, headers=CLOSE)
        self._file_seen = True
        self._take = self._audio
        try:
            self._look(self._form.fields)
        except RefusedError as refused:
            # Most of the body is still to come.
            refused.headers |= CLOSE
            raise

    def _audio(self, data: bytes) -> None:
        self.pending += data
        self._form.size += len(data)

    def _text(self, data: bytes) -> None:
        self._value += data
        if len(self._value) > self._limits.field_bytes:
            raise RefusedError(
                400,
                "field_too_long",
                f"a text field has more than {self._limits.field_bytes} bytes",
                param=self._field[:64],
                headers=CLOSE,
            )

    def _on_part_end(self) -> None:
        if self._take == self._audio:
            return
        try:
            text = self._value.decode()
        except UnicodeDecodeError:
            raise no_form("a text field is not UTF-8") from None
        self._form.fields.setdefault(self._field, []).append(text)

    def _on_end(self) -> None:
        self._ended = True


def no_form(message: str) -> RefusedError:
    """The refusal of a body that is none, or too much of one."""
    return RefusedError(400, "invalid_form", message, headers=CLOSE)


def _too_many(limits: RequestLimits) -> RefusedError:
    return no_form(f"more than {limits.fields} fields")
