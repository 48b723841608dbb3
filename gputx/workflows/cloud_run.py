"""The life of a run on instances, to be read from top to bottom: survey, launch, work, end, store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from gputx.errors import GputxError, InstanceLostError, InterruptedBySignal, StillRunningError
from gputx.lease.guard import Guard
from gputx.models import Attempt, Cost, Instance, Pool, Stay
from gputx.workflows.hosts.allowance import allowance
from gputx.workflows.hosts.cloud import CloudHost
from gputx.workflows.hosts.survey import Survey, survey
from gputx.workflows.jobs import Preparation
from gputx.workflows.settling import settle_earlier
from gputx.workflows.store import Shelf
from gputx.workflows.work import Work

_POLL_SECONDS = 0.2
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
        self._used: list[Pool] = []
        self._stays: list[Stay] = []
        self._unended: list[StillRunningError] = []
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
            if self._unended:
                raise self._still_running() from error
            raise
        finally:
            preparation.close()
            self._work.keep_partial_text()
        if self._unended:
            raise self._still_running()

    def _still_running(self) -> StillRunningError:
        """All ends that could not be confirmed, as one."""
        first, *others = self._unended
        for other in others:
            first = first.joined(other)
        return first

    def _surveyed(self) -> Survey:
        """Survey, in a thread that an interrupt need not wait for: it makes nothing that would have to be ended."""
        asking = ThreadPoolExecutor(1, thread_name_prefix="ask")
        try:
            answer = asking.submit(
                survey, self._host.session, self._host.options, self._story, only_look=self._report.dry_run
            )
            while not answer.done():
                wait([answer], timeout=_POLL_SECONDS)
                self._work.stop.check()
            return answer.result()
        except InterruptedBySignal:
            self._host.session.give_up()
            raise
        finally:
            asking.shutdown(wait=False, cancel_futures=True)

    def _live(self, found: Survey) -> None:
        """Work on an instance; where it is lost, on one more, in another pool, from the start."""
        for life in range(1, _LIVES + 1):
            run_id = self._report.id if life == 1 else f"{self._report.id}-{life}"
            guard = self._host.guard(run_id, found, lifetime=self._allowance(found))
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
        spent = sum(stay.billed_seconds * (stay.on_demand_hourly or stay.hourly or 0.0) / 3600 for stay in self._stays)
        return allowance(
            ttl=options.ttl, max_cost=options.max_cost, spent=spent, pools=found.pools, on_demand=found.on_demand
        )

    def _no_other_life(self, life: int) -> str | None:
        """Why a lost instance is not replaced, or None where it is."""
        if self._unended:
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
                    found, guard, avoid=self._used, attempted=self._attempted, launched=self._launched
                ) as bench:
                    self._work.transcribe(bench)
                # The texts are here: they are stored while the instance ends, so the bill waits for no upload.
                stored = meanwhile.submit(self._store, found)
            finally:
                self._end(guard, found)
        self._describe(stored.result())

    def _attempted(self, attempt: Attempt) -> None:
        self._report.attempts.append(attempt)
        if attempt.code is None:
            self._used.append(attempt.pool)

    def _launched(self, instance: Instance) -> None:
        self._report.instance = instance

    def _end(self, guard: Guard, found: Survey) -> None:
        """End what this life made, see it ending, and add its time to the bill."""
        instance = self._report.instance
        phase = self._story.open("terminate", instance.id if instance else "")
        try:
            guard.end()
        except StillRunningError as error:
            self._unended.append(error)
            phase.detail = error.message
            phase.close(ok=False)
        else:
            phase.detail = f"{', '.join(guard.ended)} (seen shutting-down)" if guard.ended else "nothing was launched"
            phase.close()
        self._report.ended += guard.ended
        if guard.left:
            self._story.note(f"a {' and a '.join(guard.left)} could not be deleted yet; a later gputx command will")
        launched = next((a for a in reversed(self._report.attempts) if a.code is None), None)
        if launched and len(self._stays) < sum(a.code is None for a in self._report.attempts):
            seconds = self._story.clock.time() - launched.end
            on_demand = found.on_demand.get(launched.pool.instance_type)
            self._stays.append(Stay(seconds, launched.pool.hourly, on_demand))
            self._report.cost = Cost(tuple(self._stays))

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
