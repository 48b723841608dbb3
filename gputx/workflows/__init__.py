"""One file per command, read top to bottom like the story of the command; and the rooms they share.

No AWS name, no print, no prompt: a workflow emits events and returns a report.
"""
