"""One emulated account put together: clock, timers, rules, instances, and the actions moto is given."""

from __future__ import annotations

import threading
from typing import Any

from gputx.errors import GputxError
from gputx.sandbox.clock import SandboxClock, write_offset
from gputx.sandbox.guests import GuestHost, free_address
from gputx.sandbox.passing import Passing
from gputx.sandbox.plane import catalog, emulator, market
from gputx.sandbox.plane.buckets import Buckets
from gputx.sandbox.plane.budgets import Budgets
from gputx.sandbox.plane.calllog import CallLog
from gputx.sandbox.plane.calls import Call
from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.fleets import FleetActions
from gputx.sandbox.plane.groups import GroupActions
from gputx.sandbox.plane.images import ImageActions
from gputx.sandbox.plane.instances import InstanceActions
from gputx.sandbox.plane.interfaces import delete_network_interface
from gputx.sandbox.plane.launch import Launches
from gputx.sandbox.plane.linked_roles import LinkedRoles
from gputx.sandbox.plane.log_groups import LogGroups
from gputx.sandbox.plane.machines import Machines
from gputx.sandbox.plane.market import MarketActions
from gputx.sandbox.plane.parts import zone_of
from gputx.sandbox.plane.published import PublishedImages
from gputx.sandbox.plane.quota_requests import QuotaRequests
from gputx.sandbox.plane.scheduler import Scheduler
from gputx.sandbox.plane.schedules import Schedules
from gputx.sandbox.plane.sessions import Sessions
from gputx.sandbox.plane.spot import SpotRequests
from gputx.sandbox.plane.supply import Supply
from gputx.sandbox.plane.tagging import TagActions
from gputx.sandbox.plane.templates import TemplateActions
from gputx.sandbox.plane.wire import AwsError, NotEmulated
from gputx.sandbox.rulebook import RuleBook
from gputx.sandbox.rules import Interruption, Rule
from gputx.sandbox.state import StateDirectory
from gputx.sandbox.timers import Timers

# moto has something under these names, but nothing a client could trust: better a plain no.
_REFUSED = (
    "request_spot_fleet",
    "request_spot_instances",
)
# From CreateImage to an image that can be launched.
IMAGING_SECONDS = 2.0
# Dates and signatures stop making sense somewhere beyond.
_FURTHEST_SECONDS = 10 * 366 * 86400.0
# These find fault with what is asked for before they say that a dry run would have succeeded.
_JUDGE_DRY_RUNS = frozenset(
    {
        "run_instances",
        "terminate_instances",
        "stop_instances",
        "start_instances",
        "reboot_instances",
        "create_tags",
        "delete_tags",
        "create_fleet",
        "create_image",
        *_REFUSED,
    }
)


class EmulatedAccount:
    """The account's state and time. ``lock`` guards it all, moto's included: moto is not thread safe."""

    def __init__(self, state: StateDirectory, *, region: str, ssh_port: int, settings: dict[str, float]) -> None:
        self.region = region
        self.ssh_port = ssh_port
        self.lock = threading.RLock()
        self.clock = SandboxClock(state.clock)
        self._clock_file = state.clock
        # (real time, offset from then on): what the clock showed at any moment.
        self._turns: list[tuple[float, float]] = [(0.0, 0.0)]
        self.timers = Timers(self.clock, self.lock)
        quotas = {f"quota {name}": catalog.DEFAULT_QUOTA_VCPUS for name in catalog.QUOTA_CODES}
        self.rules = RuleBook({**quotas, "imaging": IMAGING_SECONDS, **settings})
        self.calls = CallLog()
        self.guests = GuestHost(state.path, clock_file=state.clock)
        self._passing = Passing(self.clock, self.timers, self.guests, self._turn)
        self.spot = SpotRequests()
        self.sessions = Sessions(self.timers)
        self.machines = Machines(
            timers=self.timers,
            rules=self.rules,
            guests=self.guests,
            ssh_port=ssh_port,
            lock=self.lock,
            sessions=self.sessions,
        )
        self._supply = Supply(self.rules, self.machines)
        self._launches = Launches(self.clock, self.rules, self.machines, self.spot, self._supply)
        self.instances = InstanceActions(self.clock, self.machines, self._supply)
        self.schedules = Schedules(self.timers, self.instances)
        self.scheduler = Scheduler(self.timers, self.schedules)
        self.fleets = FleetActions(self.timers, self.rules, self.machines, self._supply, self._launches)
        self._images = ImageActions(self.timers, self.rules, self.machines, self.guests, directory=state.images)
        self._published = PublishedImages(region)
        self.buckets = Buckets(self.rules)
        self.log_groups = LogGroups()
        self.budgets = Budgets(self.timers.now)
        self.quota_requests = QuotaRequests(self.timers, self.rules)
        self._linked_roles = LinkedRoles(self._live_spot_instances)
        self.base_image = ""
        self.application = emulator.load(self.timers.now)
        emulator.install(self._actions(), judge_dry_runs=_JUDGE_DRY_RUNS)
        emulator.hand_out_addresses(self._next_address)

    def advance(self, seconds: float) -> float:
        """Let time pass for the account and its guests, from one due time to the next; returns the new offset.

        Not to be called under ``lock``.

        Raises:
            AwsError: ValidationException; the clock does not go back, nor further than ten years.
        """
        if not seconds >= 0:
            raise AwsError("ValidationException", "The clock only goes forward.")
        if self.clock.offset + seconds > _FURTHEST_SECONDS:
            raise AwsError("ValidationException", "The clock goes no further than ten years ahead.")
        return self._passing.advance(seconds)

    def _turn(self, offset: float) -> None:
        with self.lock:
            now = self.clock.time() - self.clock.offset
            write_offset(self._clock_file, offset)
            self._turns.append((now, offset))
            self.timers.run_due()

    def add_rule(self, text: str) -> Rule:
        """Put a rule in force; an interruption also counts for what runs already.

        Raises:
            InputError: the text is no rule.
        """
        rule = self.rules.add(text)
        if isinstance(rule, Interruption):
            with self.lock:
                self.machines.interrupt_running(rule)
        return rule

    def on_the_clock(self, real_time: float) -> float:
        """What the sandbox's clock showed at a moment of real time, such as when a client signed a URL.

        Signatures carry whole seconds; one made in the second of a turn counts as made after it.
        """
        offset = next(offset for since, offset in reversed(self._turns) if since < real_time + 1)
        return real_time + offset

    def facets(self, call: Call) -> dict[str, str]:
        """What rules can match in a call: its parameters, and what its instance or subnet adds to them."""
        facets = call.facets
        with self.lock:
            if subnet_id := call.params.get("SubnetId") or call.params.get("NetworkInterface.1.SubnetId"):
                facets.setdefault("zone", zone_of(emulator.ec2(call.region), subnet_id))
            if machine := self.machines.find(facets.get("instance", "")):
                facets = {**machine.facets, **facets}
        return facets

    def answer(self, call: Call) -> dict[str, Any] | None:
        """The answer to an action of a service that only this layer emulates; None for all other calls."""
        match call.service:
            case "scheduler":
                return self.scheduler.answer(call)
            case "budgets":
                return self.budgets.answer(call)
            case "servicequotas":
                return self._quota(call)
            case "pricing" if call.action == "GetProducts":
                return market.get_products(call.params)
        self._complete_moto(call)
        return None

    def _complete_moto(self, call: Call) -> None:
        """Put in what a service of moto's lacks, when it is first asked for something."""
        match call.service:
            case "s3":
                self.buckets.prepare(call, self.timers.now())
            case "iam":
                self._linked_roles.install()
            case "logs":
                self.log_groups.install()
            case "ssm":
                self._published.publish(self.base_image, self.clock.time())

    def _quota(self, call: Call) -> dict[str, Any] | None:
        match call.action:
            case "GetServiceQuota" | "GetAWSDefaultServiceQuota":
                return market.get_service_quota(call.params, self.rules, call.region)
            case "ListServiceQuotas":
                return market.list_service_quotas(call.params, self.rules, call.region)
            case "RequestServiceQuotaIncrease":
                return self.quota_requests.request(call.params, call.region)
            case "ListRequestedServiceQuotaChangeHistoryByQuota":
                return self.quota_requests.history(call.params, call.region)
            case "GetRequestedServiceQuotaChange":
                return self.quota_requests.one(call.params, call.region)
        return None

    def _live_spot_instances(self) -> list[str]:
        return [machine.id for machine in self.machines.all() if machine.live and machine.market == "spot"]

    def close(self) -> None:
        """End all guests and all timers."""
        self.timers.stop()
        self.guests.close()

    def _actions(self) -> dict[str, emulator.Action]:
        groups = GroupActions(self.machines)
        tagging = TagActions(self.machines, self._ids_of_ours)
        sales = MarketActions(self.clock, self.rules)
        templates = TemplateActions()
        ours: dict[str, emulator.Action] = {
            "run_instances": self._launches.run_instances,
            "describe_instances": self.instances.describe_instances,
            "describe_instance_status": self.instances.describe_instance_status,
            "terminate_instances": self.instances.terminate_instances,
            "stop_instances": self.instances.stop_instances,
            "start_instances": self.instances.start_instances,
            "reboot_instances": self.instances.reboot_instances,
            "get_console_output": self.instances.get_console_output,
            "create_tags": tagging.create_tags,
            "delete_tags": tagging.delete_tags,
            "delete_network_interface": delete_network_interface,
            "delete_security_group": groups.delete_security_group,
            "modify_instance_attribute": groups.modify_instance_attribute,
            "describe_spot_price_history": sales.describe_spot_price_history,
            "get_spot_placement_scores": sales.get_spot_placement_scores,
            "describe_spot_instance_requests": lambda call: self.spot.describe(call, self.clock.time()),
            "cancel_spot_instance_requests": self.spot.cancel,
            "create_fleet": self.fleets.create_fleet,
            "describe_fleets": self.fleets.describe_fleets,
            "describe_fleet_instances": self.fleets.describe_fleet_instances,
            "delete_fleets": self.fleets.delete_fleets,
            "create_launch_template": templates.create_launch_template,
            "create_launch_template_version": templates.create_launch_template_version,
            "describe_launch_templates": templates.describe_launch_templates,
            "delete_launch_template": templates.delete_launch_template,
            "create_image": self._images.create_image,
            "copy_image": self._images.copy_image,
            "deregister_image": self._images.deregister_image,
            "describe_snapshots": self._images.describe_snapshots,
            "delete_snapshot": self._images.delete_snapshot,
        }
        return {**dict.fromkeys(_REFUSED, _refuse), **ours}

    def _ids_of_ours(self, backend: Any) -> list[str]:
        """Ids of the spot requests and fleets in a region: moto knows nothing of them."""
        requests = [request.id for request in self.spot.all() if request.backend is backend]
        return requests + [fleet.id for fleet in self.fleets.all() if fleet.call.backend is backend]

    def _next_address(self) -> str:
        taken = {machine.address for machine in self.machines.all() if machine.live}
        try:
            return free_address(taken, self.ssh_port)
        except GputxError as error:
            raise AwsError("InsufficientFreeAddressesInSubnet", error.message) from error


def _refuse(call: Ec2Call) -> Any:
    raise NotEmulated("ec2", call.action)
