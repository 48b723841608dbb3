"""What can go wrong between here and an instance, each as one line with what to do about it."""

from __future__ import annotations

from gputx.errors import GputxError, InstanceLostError


class SshUnavailableError(GputxError):
    """SSH never came up before the deadline; the message says what was seen last."""


class HostKeyChangedError(GputxError):
    """Whoever answers is not the machine that was launched. Never retried: nothing was sent to it."""


class AuthenticationRefusedError(GputxError):
    """The right machine answers and does not accept the run's key."""


class PeerLostError(InstanceLostError):
    """A connection that was up has ended, or its peer has stopped answering."""


class IntegrityError(GputxError):
    """A file arrived with another hash than it was sent with, twice."""


class UploadError(GputxError):
    """The remote host could not store a file (disk full, no permission); the message has its own words."""


class CommandTimeoutError(GputxError):
    """A remote command did not end in the time it was given; it was hung up on."""


class ChannelClosedError(GputxError):
    """The connection is fine, but the remote command has ended or could not be started."""
