"""From a survey to an instance that is ready for a worker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from gputx.aws import userdata
from gputx.clock import Stop
from gputx.lease.guard import Guard
from gputx.models import Attempt, Image, Instance, Pool
from gputx.workflows.hosts.instance import IMAGE_MODEL, InstanceBench, worker_command
from gputx.workflows.hosts.machine import Machines
from gputx.workflows.hosts.survey import CloudOptions, Survey
from gputx.workflows.model import ModelChoice
from gputx.workflows.place import Place
from gputx.workflows.story import Story


class CloudHost(Machines):
    """One account in one region, for one run."""

    def __init__(
        self, place: Place, options: CloudOptions, model: ModelChoice | None, story: Story, stop: Stop
    ) -> None:
        """``model`` None means the one inside the image."""
        super().__init__(place, options, story, stop)
        self.options = options
        self._asked_model = model

    @contextmanager
    def bench(
        self,
        survey: Survey,
        guard: Guard,
        *,
        avoid: Collection[Pool],
        attempted: Callable[[Attempt], None],
        launched: Callable[[Instance], None],
    ) -> Iterator[InstanceBench]:
        """Launch, wait, connect; hang up in the end. Raises what :meth:`Machines.machine` raises."""
        model = self._model(survey.image)
        with self.machine(
            survey,
            guard,
            avoid=avoid,
            attempted=attempted,
            launched=launched,
            early=self._early_worker(survey, model),
        ) as machine:
            yield InstanceBench(machine.connection, survey.payload, model, machine.look)

    def _model(self, image: Image) -> ModelChoice:
        """The model that was asked for; the one in the image where that is the one."""
        asked = self._asked_model
        inside = ModelChoice(image.model, IMAGE_MODEL, image.model_revision, engine=self.options.engine)
        if asked is None:
            return inside
        same = asked.from_hub and asked.name == image.model and asked.revision in {None, image.model_revision}
        return inside if same else asked

    @staticmethod
    def _early_worker(survey: Survey, model: ModelChoice) -> userdata.EarlyWorker | None:
        # A model that has yet to be sent can't be loaded before SSH is up.
        if not survey.payload_url or model.upload:
            return None
        return userdata.EarlyWorker(
            url=survey.payload_url,
            name=survey.payload.name,
            sha256=survey.payload.sha256,
            command=worker_command("serve", survey.payload, model),
        )
