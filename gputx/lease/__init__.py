"""Why an instance can't survive: four locks, each enough by itself.

1. The client. ``interrupts`` turns signals into a flag; ``guard`` knows what was asked for and ends it, seen and not
   believed, in the order that leaves nothing behind.
2. The journal. ``journal`` has every launch on disk before it is sent, and a lock that dies with its process;
   ``record`` is one run's lines in it. Every later command resumes a dead run's guard from them: ``settle``.
3. The instance. Its deadline and its watchdog are in ``aws/userdata.py``; ``heart`` is what keeps them waiting.
4. The account. A schedule (``aws/schedule.py``) that the same heart moves on.

Over all of it ``gputx reap``: ``verdict`` says what may be ended of what carries our tag, ``reaper`` ends it,
``unseen`` squares the journal with it. Nothing in here knows AWS, prints, or launches anything;
docs/reliability.md has the proof.
"""
