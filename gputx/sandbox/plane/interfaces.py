"""Network interfaces: those of instances go with them, and nobody deletes one that is in use."""

from __future__ import annotations

from typing import Any

from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.wire import AwsError


def delete_network_interface(call: Ec2Call) -> Any:
    """DeleteNetworkInterface, of one that is attached to nothing."""
    interface_id = call.params["NetworkInterfaceId"]
    interface = call.backend.enis.get(interface_id)
    if interface is not None and interface.instance is not None:
        raise AwsError("InvalidParameterValue", f"Network interface '{interface_id}' is currently in use.")
    deleted = call.to_moto()
    call.backend.tags.pop(interface_id, None)
    return deleted
