"""How jobs ended: stamped in order, and on disk as soon as there is room."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping

from gputx_remote.server.job import Failure, Job, State
from gputx_remote.server.store import Store

log = logging.getLogger("gputx.server")


class Ends:
    """Numbers for what is taken on and for what ends, so that age does not hang on the clock; and the ends of jobs,
    written down. Whoever waits gets the answer, whether it can be written or not."""

    def __init__(self, store: Store, clock: Callable[[], float], before: Iterable[Job]) -> None:
        """
        Args:
            store: where they are written.
            clock: seconds since 1970.
            before: the jobs there are already.
        """
        self._store = store
        self._clock = clock
        self._unwritten: set[str] = set()
        last = max((max(job.order.number, job.place) for job in before), default=0)
        self.numbers = itertools.count(last + 1)

    def note(self, job: Job, state: State, failure: Failure | None) -> None:
        """Stamp a job that ends so, and write that down."""
        job.failure, job.ended, job.place = failure, self._clock(), next(self.numbers)
        self._write(job, state)

    def forget(self, job: Job) -> None:
        """It need not be written any more."""
        self._unwritten.discard(job.id)

    def write_again(self, jobs: Mapping[str, Job]) -> None:
        """Try once more to write what could not be written."""
        for number in [*self._unwritten]:
            job = jobs.get(number)
            if job is not None and job.state.ended:
                self._write(job, job.state)

    def _write(self, job: Job, state: State) -> None:
        try:
            self._store.end(job, state)
            self._unwritten.discard(job.id)
        except OSError as error:
            log.warning("the end of a job can't be written", extra={"job": job.id, "errno": error.errno})
            if state is State.CANCELLED:
                self._store.remove(job)  # it may not live again
            else:
                # Its files are as they were: a process that took over now would do the job again.
                self._unwritten.add(job.id)
