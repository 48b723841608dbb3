"""moto, loaded in a shape fit for a daemon: quick to start, and with our actions in the place of its own.

The one module that knows how moto is put together. An action of ours is a function of an :class:`Ec2Call`; it
returns what boto3 would show as the response, and moto parses the request and writes the answer.
"""

from __future__ import annotations

import copy
import functools
import json
import os
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gputx.sandbox.plane.wire import DryRun

ACCOUNT_ID = "123456789012"
# The root disk of every image.
IMAGE_GB = 8

# Read by moto when it is imported. Loading Amazon's images costs 0.3 s at the first describe; cross-origin
# headers would open the account to any page in a browser.
_SETTINGS = {
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    "MOTO_DISABLE_GLOBAL_CORS": "true",
    "MOTO_ACCOUNT_ID": ACCOUNT_ID,
}


@dataclass
class Ec2Call:
    """One EC2 request as an action of ours sees it.

    Attributes:
        params: parsed by the API model: nested, with native types. Changing it changes what moto will see.
        backend: moto's account and region: instances, groups, keys, volumes, images.
        to_moto: let moto's own action go on with ``params``; returns moto's result object.
        beside: another action with other parameters, asked for by the same caller; now, or any time later.
    """

    action: str
    params: dict[str, Any]
    backend: Any
    region: str
    to_moto: Callable[[], Any]
    beside: Callable[[str, dict[str, Any]], Ec2Call]

    @property
    def filters(self) -> dict[str, list[str]]:
        given = self.params.get("Filters") or self.params.get("Filter") or []
        return {entry["Name"]: entry.get("Values", []) for entry in given}


Action = Callable[[Ec2Call], Mapping[str, Any] | None]


class _OfferingsByRegion(dict[str, Any]):
    """Instance types by region, each region read when first asked for: reading all takes most of a second."""

    def __init__(self, load: Callable[[str], Any], location_type: str) -> None:
        super().__init__()
        self._load = load
        self._location_type = location_type

    def __missing__(self, region: str) -> Any:
        path = f"ec2/resources/instance_type_offerings/{self._location_type}/{region}.json"
        try:
            offerings = self._load(path)
        except FileNotFoundError:
            offerings = []
        for offering in offerings:
            offering["LocationType"] = self._location_type
        self[region] = offerings
        return offerings

    def get(self, region: str, default: Any = None) -> Any:  # noqa: ARG002 - a region always has a list
        return self[region]


def load(now: Callable[[], float]) -> Callable[..., Any]:
    """Import moto and return its WSGI application.

    Exceptions raised inside an action come out of the application, so that the caller can word them.

    Args:
        now: seconds since the epoch, for all that moto dates and times.
    """
    os.environ.update(_SETTINGS)
    import moto.core.utils as dates  # noqa: PLC0415 - moto reads its settings when imported

    # Before any service is imported: each takes this function over by its name.
    dates.utcnow = lambda: datetime.fromtimestamp(now(), UTC).replace(tzinfo=None)
    import moto.utilities.utils as loading  # noqa: PLC0415 - moto reads its settings when imported

    read_resource = loading.load_resource
    loading.load_resource = lambda path: [] if "instance_type_offerings" in str(path) else read_resource(path)
    from moto.core import responses  # noqa: PLC0415
    from moto.ec2.models import instance_types  # noqa: PLC0415
    from moto.ec2.models.amis import Ami  # noqa: PLC0415
    from moto.ec2.models.elastic_block_store import Snapshot  # noqa: PLC0415
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415

    loading.load_resource = read_resource
    for location_type in list(instance_types.INSTANCE_TYPE_OFFERINGS):
        offerings = _OfferingsByRegion(read_resource, location_type)
        instance_types.INSTANCE_TYPE_OFFERINGS[location_type] = offerings
    Ami.__init__ = _with_root_disk(Ami.__init__)
    Ami.block_device_mappings = property(_image_disks)
    Snapshot.progress = property(_snapshot_progress)
    # Listing the methods of EC2's response class takes longer than most actions, and it never changes.
    responses.method_names_from_class = functools.cache(responses.method_names_from_class)
    application: Callable[..., Any] = DomainDispatcherApplication(create_backend_app)
    return application


def _with_root_disk(make: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(make)
    def make_image(image: Any, *arguments: Any, **options: Any) -> None:
        make(image, *arguments, **options)
        image.ebs_snapshot.volume.size = IMAGE_GB

    return make_image


def _image_disks(image: Any) -> list[dict[str, Any]]:
    """What a launch makes of an image: moto's would leave a disk of an old type behind."""
    source = image.ebs_snapshot
    disk = {"SnapshotId": source.id, "VolumeSize": source.volume.size, "VolumeType": "gp3"}
    whole = {**disk, "Encrypted": source.encrypted, "DeleteOnTermination": True}
    return [{"DeviceName": image.root_device_name, "Ebs": whole}]


def _snapshot_progress(snapshot: Any) -> str:
    return "100%" if snapshot.status == "completed" else "0%"


def install(actions: Mapping[str, Action], *, judge_dry_runs: Container[str]) -> None:
    """Put our EC2 actions in the place of moto's.

    Args:
        actions: by their names in snake case.
        judge_dry_runs: the names of those that are called for a dry run, too; of all others it succeeds.
    """
    from moto.core.responses import ActionResult, EmptyResult  # noqa: PLC0415 - moto reads its settings when imported
    from moto.core.utils import camelcase_to_underscores  # noqa: PLC0415
    from moto.ec2.responses import EC2Response  # noqa: PLC0415

    originals = {name: getattr(EC2Response, name, None) for name in actions}

    def call_for(name: str, response: Any) -> Ec2Call:
        def to_moto() -> Any:
            original = originals[camelcase_to_underscores(name)]
            assert original is not None, "moto has no such action"  # noqa: S101 - a slip in our own table
            return original(response).result

        def beside(other: str, params: dict[str, Any]) -> Ec2Call:
            asked = copy.copy(response)
            asked.params = params
            return call_for(other, asked)

        return Ec2Call(name, response.params, response.ec2_backend, response.region, to_moto, beside)

    def method_for(name: str, action: Action) -> Callable[[Any], Any]:
        def method(response: Any) -> Any:
            call = call_for(response._get_action(), response)
            if call.params.get("DryRun") and name not in judge_dry_runs:
                raise DryRun
            result = action(call)
            return EmptyResult() if result is None else ActionResult(result)

        return method

    for name, action in actions.items():
        setattr(EC2Response, name, method_for(name, action))


def hand_out_addresses(next_address: Callable[[], str]) -> None:
    """Make moto give instances our public addresses."""
    from moto.ec2.models import elastic_network_interfaces  # noqa: PLC0415 - moto reads its settings when imported

    elastic_network_interfaces.random_public_ip = next_address


def ec2(region: str) -> Any:
    """moto's EC2 account in a region."""
    from moto.ec2.models import ec2_backends  # noqa: PLC0415 - moto reads its settings when imported

    return ec2_backends[ACCOUNT_ID][region]


def regions() -> frozenset[str]:
    """The names of AWS's regions."""
    from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend  # noqa: PLC0415

    return frozenset(region.name for region in RegionsAndZonesBackend.regions)


def s3() -> Any:
    """moto's S3, which has no region."""
    from moto.s3.models import s3_backends  # noqa: PLC0415 - moto reads its settings when imported

    return s3_backends[ACCOUNT_ID]["aws"]


def publish_parameters(region: str, values: Mapping[str, str], at: float) -> None:
    """Put in AWS's public parameters of Systems Manager: ids of images, by the parameter's name."""
    from moto.ssm.models import Parameter, ssm_backends  # noqa: PLC0415 - only who asks for one pays for the import

    parameters = ssm_backends[ACCOUNT_ID][region]._parameters
    for name, value in values.items():
        published = Parameter(
            account_id=ACCOUNT_ID,
            name=name,
            value=value,
            parameter_type="String",
            description=None,
            allowed_pattern=None,
            keyid=None,
            last_modified_date=datetime.fromtimestamp(at, UTC),
            version=1,
            data_type="aws:ec2:image",
        )
        parameters[name] = [published]


def queues() -> list[Any]:
    """moto's SQS queues, of all regions."""
    from moto.sqs.models import sqs_backends  # noqa: PLC0415 - moto reads its settings when imported

    return [queue for backend in sqs_backends[ACCOUNT_ID].values() for queue in backend.queues.values()]


def ec2_regions() -> list[Any]:
    """moto's EC2 accounts in all regions that anything was ever asked of."""
    from moto.ec2.models import ec2_backends  # noqa: PLC0415 - moto reads its settings when imported

    return list(ec2_backends[ACCOUNT_ID].values())


def moto_error() -> type[Exception]:
    """The class of all errors that moto means a client to see."""
    from moto.core.exceptions import ServiceException  # noqa: PLC0415 - moto reads its settings when imported

    error: type[Exception] = ServiceException
    return error


def offered_types(region: str, location_type: str = "availability-zone") -> list[dict[str, str]]:
    """What is sold where: a list of {"InstanceType", "Location", "LocationType"}."""
    from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS  # noqa: PLC0415

    offerings: list[dict[str, str]] = INSTANCE_TYPE_OFFERINGS[location_type][region]
    return offerings


def vcpus(instance_type: str) -> int | None:
    """Default vCPUs of a type; None where AWS has no such type."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES  # noqa: PLC0415

    description = INSTANCE_TYPES.get(instance_type)
    return None if description is None else int(description["VCpuInfo"]["DefaultVCpus"])


def architectures(instance_type: str) -> list[str]:
    """What a type's processors run, such as ``x86_64``."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES  # noqa: PLC0415

    return list(INSTANCE_TYPES[instance_type]["ProcessorInfo"]["SupportedArchitectures"])


def has_instance_profile(field: str, value: str) -> bool:
    """Whether there is an instance profile whose ``Name`` or ``Arn`` (the field) is this."""
    profiles = iam().instance_profiles.values()
    return any(value == (profile.name if field == "Name" else profile.arn) for profile in profiles)


def iam() -> Any:
    """moto's IAM, which has no region."""
    from moto.iam.models import iam_backends  # noqa: PLC0415 - moto reads its settings when imported

    return iam_backends[ACCOUNT_ID]["aws"]


def install_iam(actions: Mapping[str, Callable[[Callable[[str], Any]], Mapping[str, Any]]]) -> None:
    """Put actions of ours in the place of moto's: by their names in snake case, each given what reads a parameter."""
    from moto.core.responses import ActionResult  # noqa: PLC0415 - moto reads its settings when imported
    from moto.iam.responses import IamResponse  # noqa: PLC0415

    def method_for(action: Callable[[Callable[[str], Any]], Mapping[str, Any]]) -> Callable[[Any], Any]:
        return lambda response: ActionResult(action(response._get_param))

    for name, action in actions.items():
        setattr(IamResponse, name, method_for(action))


def profile_of(backend: Any, instance_id: str) -> Any:
    """moto's instance profile that an instance was launched with; None without one."""
    association = backend.iam_instance_profile_associations.get(instance_id)
    return association.iam_instance_profile if association else None


def assume(role_arn: str, session_name: str, seconds: float) -> Any:
    """A role's session of moto's, of which its STS then knows who it is."""
    from moto.sts.models import sts_backends  # noqa: PLC0415 - only who launches with a profile pays for the import

    account = sts_backends[ACCOUNT_ID]["aws"]
    return account.assume_role(
        region_name="aws-global",
        role_session_name=session_name,
        role_arn=role_arn,
        policy="",
        duration=int(seconds),
        external_id="",
    )


def role_names() -> set[str]:
    """The names of all roles."""
    return {role.name for role in iam().roles.values()}


def make_linked_role(name: str, service: str) -> Any:
    """A role that only ``service`` may assume; moto's, as its answers show it."""
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return iam().create_role(
        name,
        json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        f"/aws-service-role/{service}/",
        permissions_boundary=None,
        description="",
        tags=[],
        max_session_duration="3600",
        linked_service=service,
    )


def without_statements(policy: bytes | None, unwanted: Callable[[dict[str, Any]], bool]) -> bytes | None:
    """A policy without some of its statements; None where nothing is left of it."""
    if policy is None:
        return None
    document = json.loads(policy)
    document["Statement"] = [entry for entry in document["Statement"] if not unwanted(entry)]
    return json.dumps(document).encode() if document["Statement"] else None


def seconds_of(moment: datetime) -> float:
    """moto's dates are UTC and do not say so."""
    return moment.replace(tzinfo=UTC).timestamp()


def role(arn: str) -> Any:
    """moto's role of this ARN; None where there is none."""
    return next((role for role in iam().roles.values() if role.arn == arn), None)


def policies_of(role: Any) -> list[str]:
    """The documents of a role's policies: its own, and those attached to it."""
    attached = [
        version.document
        for policy in role.managed_policies.values()
        for version in policy.versions
        if version.version_id == policy.default_version_id
    ]
    return [*role.policies.values(), *attached]


_STATE_CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}


def set_state(instance: Any, name: str) -> None:
    """Show an instance in a state; does nothing else to it."""
    from moto.ec2.models.instances import InstanceState  # noqa: PLC0415 - moto reads its settings when imported

    instance._state = InstanceState(name, _STATE_CODES[name])


def state_of(name: str) -> dict[str, object]:
    """A state as the API writes it."""
    return {"Code": _STATE_CODES[name], "Name": name}


def set_reason(instance: Any, code: str, message: str, when: str) -> None:
    """Say why an instance is in its state."""
    from moto.ec2.models.instances import StateReason  # noqa: PLC0415 - moto reads its settings when imported

    instance.state_reason = StateReason(f"{code}: {message}", code)
    instance._reason = f"{message} ({when})"


def end_instance(backend: Any, instance: Any) -> None:
    """Terminate an instance, and forget the tags of the disks and interfaces that go with it."""
    parts = [*instance.nics.values(), *instance.block_device_mapping.values()]
    ids = [getattr(part, "volume_id", None) or part.id for part in parts]
    instance.terminate()
    for gone in set(ids) - backend.enis.keys() - backend.volumes.keys():
        backend.tags.pop(gone, None)


def forget_instance(backend: Any, instance: Any) -> None:
    """Take an instance out of what Describe shows."""
    for reservation_id, reservation in list(backend.reservations.items()):
        if instance in reservation.instances:
            reservation.instances.remove(instance)
            if not reservation.instances:
                del backend.reservations[reservation_id]
