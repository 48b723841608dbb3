"""``gputx api``: a server on an instance of its own, which outlives the command that brought it up.

Its lease is that of any run but for one thing: once it answers it is kept (:mod:`gputx.workflows.api.up`), until it
has not been used for its idle time, its deadline comes, or ``gputx api down`` ends it.
"""
