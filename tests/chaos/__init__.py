"""The chaos campaign: gputx is killed everywhere it can be killed, and nothing may be left running. See README.md."""
