"""An AWS account on loopback: a control plane that answers as AWS does, and a guest behind every instance.

Here lives what AWS and a Linux host do, and nothing of gputx's own: apart from the one image and bucket that
``furnish`` puts in, no tag, deadline or heartbeat is known here. Importing this package loads no emulator.
"""

from gputx.sandbox.account import Account, ephemeral, find, up
from gputx.sandbox.clock import SandboxClock

__all__ = ["Account", "SandboxClock", "ephemeral", "find", "up"]
