"""Guests: what runs behind an emulated instance, one tree of OS processes each.

Here lives what a Linux host does: boot, user-data, sshd, power, metadata, and its walls towards this machine.
Nothing of AWS's control plane and nothing of gputx's tags, deadlines or heartbeats may live here.
"""

from gputx.sandbox.guests.address import free_address
from gputx.sandbox.guests.guest import Guest, GuestSpec
from gputx.sandbox.guests.host import GuestHost
from gputx.sandbox.guests.image import make_base, make_image

__all__ = ["Guest", "GuestHost", "GuestSpec", "free_address", "make_base", "make_image"]
