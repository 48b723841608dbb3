"""How subtitles are cut, in the words of whisper's command line."""

from __future__ import annotations

from dataclasses import dataclass

from gputx_remote.transcript import Transcript


@dataclass(frozen=True)
class WriterOptions:
    """Limits of a cue; None is no limit.

    Raises:
        ValueError: a limit is below 1, or ``max_line_count`` stands alone; the message is one line for a person.
    """

    max_line_width: int | None = None
    """Characters on a line. A word that is longer has a line of its own."""
    max_line_count: int | None = None
    """Lines in a cue; a segment with more becomes several cues. Needs one of the other two limits."""
    max_words_per_line: int | None = None
    """Words on a line; one line in a cue unless ``max_line_count`` says more, which is what whisper makes."""
    highlight_words: bool = False
    """Underline each word while it is spoken."""

    def __post_init__(self) -> None:
        for name in ("max_line_width", "max_line_count", "max_words_per_line"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{_flag(name)} can't be {value}: 1 or more")
        if self.max_line_count and not (self.max_line_width or self.max_words_per_line):
            raise ValueError(
                "--max-line-count needs --max-line-width or --max-words-per-line: nothing else ends a line"
            )

    @property
    def lines_per_cue(self) -> int | None:
        """How many lines a cue may have; None for as many as its segment needs."""
        if self.max_line_count is None and self.max_words_per_line is not None:
            return 1
        return self.max_line_count

    @property
    def wraps(self) -> bool:
        """Whether any limit ends lines at all."""
        return self.max_line_width is not None or self.max_words_per_line is not None


def needs_words(options: WriterOptions) -> bool:
    """Whether the options cut cues inside a segment, so that word times have to be asked of the engine.

    A width alone only folds a segment's text into lines, which needs none.
    """
    return options.highlight_words or options.lines_per_cue is not None


def lacks_words(transcript: Transcript, options: WriterOptions) -> bool:
    """Whether word times are wanted and a segment with text came without: its cues get times by length of text."""
    return needs_words(options) and any(s.text.strip() and not s.words for s in transcript.segments)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
