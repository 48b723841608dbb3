"""Servers that are used rather than launched: one or several of gputx's own, or OpenAI-compatible ones."""
