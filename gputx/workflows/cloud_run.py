"""The life of a run on instances, to be read from top to bottom: survey, launch, work, end, store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gputx.errors import GputxError, InstanceLostError, InterruptedBySignal
from gputx.lease.guard import Guard
from gputx.workflows.hosts.allowance import allowance
from gputx.workflows.hosts.cloud import CloudHost
from gputx.workflows.hosts.survey import Survey, interruptible, survey
from gputx.workflows.jobs import Preparation
from gputx.workflows.lives import Lives
from gputx.workflows.settling import settle_earlier
from gputx.workflows.store import Shelf
from gputx.workflows.work import Work

_CLOCKS_DIFFER_SECONDS = 5.0
"""An instance that ends so shortly before its deadline has reached it, by its own clock."""
_LIVES = 2
"""An instance that is lost in mid-run is replaced once."""


class CloudRun:
    """One run on one account: survey, launch, work, end, store."""

    def __init__(self, work: Work, host: CloudHost, scratch: Path) -> None:
        self._work = work
        self._host = host
        self._story = work.story
        self._report = work.report
        self._scratch = scratch
        self._lives = Lives(work.report, work.story)
        self._deadline = 0.0

    def run(self) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="settle") as background:
            settled = background.submit(settle_earlier, self._host.place, self._story.note, self._work.stop)
            try:
                self._run()
            finally:
                for line in settled.result():
                    self._story.warn(line)

    def _run(self) -> None:
        found = self._surveyed()
        self._report.image, self._report.plan = found.image, list(found.pools)
        if self._report.dry_run:
            return
        preparation = Preparation(
            self._work.outstanding, self._scratch, self._story, self._work.stop, self._work.request.channel
        )
        try:
            self._live(found)
        except Exception as error:
            # What may still run matters more than why the work ended.
            if still_running := self._lives.still_running:
                raise still_running from error
            raise
        finally:
            preparation.close()
            self._work.keep_partial_text()
        if still_running := self._lives.still_running:
            raise still_running

    def _surveyed(self) -> Survey:
        session, dry = self._host.session, self._report.dry_run
        return interruptible(
            session, self._work.stop, lambda: survey(session, self._host.options, self._story, only_look=dry)
        )

    def _live(self, found: Survey) -> None:
        """Work on an instance; where it is lost, on one more, in another pool, from the start."""
        for life in range(1, _LIVES + 1):
            run_id = self._report.id if life == 1 else f"{self._report.id}-{life}"
            guard = self._host.guard(run_id, found.who.account, lifetime=self._allowance(found))
            self._deadline = guard.deadline
            try:
                self._one_life(found, guard)
            except InstanceLostError as error:
                self._story.warn(error.message)
                if why := self._no_other_life(life):
                    self._give_up(found, f"{why} ({error.message})")
                    return
                self._story.note("starting again in another pool")
            except InterruptedBySignal:
                raise
            except GputxError as error:
                if not any(job.report.transcript for job in self._work.jobs):
                    raise
                self._give_up(found, error.message)
                return
            else:
                return

    def _allowance(self, found: Survey) -> float:
        options = self._host.options
        return allowance(
            ttl=options.ttl,
            max_cost=options.max_cost,
            spent=self._lives.spent,
            pools=found.pools,
            on_demand=found.on_demand,
        )

    def _no_other_life(self, life: int) -> str | None:
        """Why a lost instance is not replaced, or None where it is."""
        if self._lives.still_running:
            return "its end could not be confirmed, so no other is launched"
        if self._story.clock.time() >= self._deadline - _CLOCKS_DIFFER_SECONDS:
            return "the instance ended at its deadline; allow more with --ttl or --max-cost"
        return "the instance was lost twice" if life == _LIVES else None

    def _give_up(self, found: Survey, why: str) -> None:
        """Fail what is outstanding; what was transcribed before stays, and is stored."""
        for job in self._work.outstanding:
            self._work.fail(job, why)
        self._describe(self._store(found))

    def _one_life(self, found: Survey, guard: Guard) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="store") as meanwhile:
            try:
                with self._host.bench(
                    found,
                    guard,
                    avoid=self._lives.used,
                    attempted=self._lives.attempted,
                    launched=self._lives.launched,
                ) as bench:
                    self._work.transcribe(bench)
                # The texts are here: they are stored while the instance ends, so the bill waits for no upload.
                stored = meanwhile.submit(self._store, found)
            finally:
                self._lives.end(guard, found.on_demand)
        self._describe(stored.result())

    def _store(self, found: Survey) -> Shelf | None:
        """Put what was transcribed into the bucket, where there is one."""
        if found.bucket is None or not any(job.report.transcript for job in self._work.jobs):
            return None
        shelf = Shelf(self._host.session, found.bucket, self._work.request.formats, self._work.request.writing)
        with self._story.phase("store") as phase:
            self._storing(lambda: shelf.put_transcripts(self._work.jobs, when=self._story.clock.time()))
            phase.detail = shelf.address or "nothing could be stored"
        return shelf

    def _describe(self, shelf: Shelf | None) -> None:
        """Put the metadata beside the texts: last, because it tells the end and the cost."""
        if shelf:
            self._report.phases = self._story.phases
            self._storing(lambda: shelf.put_metadata(self._report, self._work.jobs))

    def _storing(self, put: Callable[[], None]) -> None:
        """A bucket that fails costs no text: it is on disk here already. It does fail the files."""
        try:
            put()
        except GputxError as error:
            self._story.warn(f"not all results are in S3: {error.message}")
            for job in self._work.jobs:
                if job.report.transcript and not job.report.error:
                    self._work.fail(job, f"its text is here, but not whole in S3 ({error.message})")
