"""What an AWS error means, decided once. Nothing else in gputx looks at an error code.

The code decides before the HTTP status does: InsufficientInstanceCapacity arrives as a 500, and a client that
goes by the status would ask the same zone again.
Source of the table: the EC2 API reference's error codes, and what each one leaves possible.
"""

from __future__ import annotations

from enum import Enum

from botocore import exceptions as boto

from gputx.errors import ConfigurationError, ExitCode, GputxError


class Meaning(Enum):
    """What an error comes to, in words that are shown. NEXT_POOL, NO_MORE_SPOT and NO_SPOT_YET leave other pools
    (on-demand has a quota of its own); BACK_OFF and GONE may go better the next time; the rest ends the attempt.
    """

    NEXT_POOL = "no capacity"
    NO_MORE_SPOT = "no more spot for this account"
    NO_SPOT_YET = "spot has never been used in this account"
    QUOTA = "quota reached"
    FULL = "a quota of images or snapshots is reached"
    DENIED = "not allowed"
    BACK_OFF = "AWS is busy or the answer was lost: ask again, with the same token"
    CREDENTIALS = "new credentials are needed"
    WAIT_FOR_AWS = "AWS is still verifying the account"
    GONE = "it does not exist, or is not visible yet"
    IN_USE = "something still holds it"
    EXISTS = "it is there already"
    FATAL = "asking again will not help"


_THROTTLES = (
    "RequestLimitExceeded",
    "EC2ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "SlowDown",
)

_TABLE: dict[Meaning, tuple[str, ...]] = {
    Meaning.NEXT_POOL: (
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientCapacity",
        "UnfulfillableCapacity",
        "InsufficientFreeAddressesInSubnet",
        "Unsupported",
        "SpotMaxPriceTooLow",
    ),
    Meaning.NO_MORE_SPOT: ("MaxSpotInstanceCountExceeded",),
    Meaning.NO_SPOT_YET: ("AuthFailure.ServiceLinkedRoleCreationNotPermitted",),
    # What S3 answers to a HEAD has no body, so its status is all the code there is.
    Meaning.DENIED: ("AccessDenied", "AccessDeniedException", "Forbidden", "403"),
    Meaning.QUOTA: ("VcpuLimitExceeded", "InstanceLimitExceeded"),
    Meaning.FULL: (
        "AMIQuotaExceeded",
        "ResourceLimitExceeded",
        "SnapshotLimitExceeded",
        "PendingSnapshotLimitExceeded",
        "ConcurrentSnapshotLimitExceeded",
        "SnapshotCreationPerVolumeRateExceeded",
        "ResourceQuotaExceeded",
    ),
    Meaning.BACK_OFF: (
        *_THROTTLES,
        "RequestTimeout",
        "InternalError",
        "InternalFailure",
        "ServiceUnavailable",
        "Unavailable",
        # Something else is being done to the same thing: a bucket's name that was given up minutes ago, a role.
        "OperationAborted",
        "ConcurrentModification",
        "ConcurrentModificationException",
    ),
    Meaning.CREDENTIALS: (
        "RequestExpired",
        "RequestTimeTooSkewed",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "AuthFailure",
    ),
    Meaning.WAIT_FOR_AWS: ("PendingVerification",),
    Meaning.GONE: (
        "InvalidInstanceID.NotFound",
        "InvalidGroup.NotFound",
        "InvalidKeyPair.NotFound",
        "InvalidVolume.NotFound",
        "InvalidNetworkInterfaceID.NotFound",
        "InvalidSpotInstanceRequestID.NotFound",
        "InvalidLaunchTemplateId.NotFound",
        "InvalidLaunchTemplateName.NotFoundException",
        "InvalidSnapshot.NotFound",
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
        "NoSuchBucket",
        "NoSuchEntity",
        "NoSuchKey",
        "NotFound",
        "NotFoundException",
        "ResourceNotFoundException",
        "NoSuchResourceException",
        "NoSuchBucketPolicy",
        "NoSuchLifecycleConfiguration",
        "NoSuchPublicAccessBlockConfiguration",
        "NoSuchTagSet",
        "ServerSideEncryptionConfigurationNotFoundError",
        "404",
    ),
    Meaning.IN_USE: (
        "DependencyViolation",
        "IncorrectInstanceState",
        "IncorrectState",
        "InvalidGroup.InUse",
        "InvalidNetworkInterface.InUse",
        "InvalidSnapshot.InUse",
        "VolumeInUse",
        "DeleteConflict",
        "BucketNotEmpty",
    ),
    Meaning.EXISTS: (
        "PreconditionFailed",
        "InvalidGroup.Duplicate",
        "InvalidKeyPair.Duplicate",
        "InvalidAMIName.Duplicate",
        "InvalidPermission.Duplicate",
        "ConditionalRequestConflict",
        "ConflictException",
        "EntityAlreadyExists",
        "ResourceAlreadyExistsException",
        "DuplicateRecordException",
        "BucketAlreadyOwnedByYou",
        "BucketAlreadyExists",
    ),
}
_BY_CODE = {code: meaning for meaning, codes in _TABLE.items() for code in codes}

_CLOCK = ("RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch")
"""A signature carries the time, and AWS takes a clock that is minutes off for an old request."""

_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.SSOError,
    boto.ProfileNotFound,
    boto.TokenRetrievalError,
)
_NEVER_SENT = (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError)
"""No connection came about, so nothing can have taken effect."""
_LOST = (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError)


class AwsError(GputxError):
    """An AWS call failed. ``meaning`` says what is possible now; ``code`` is AWS's own word for people."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        meaning: Meaning,
        lost: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.meaning = meaning
        self.lost = lost
        """No answer came: the call may have taken effect."""
        self.renewable = meaning is Meaning.CREDENTIALS
        self.exit_code = _exit_code(meaning)
        self.denied = meaning is Meaning.DENIED or code.startswith("Unauthorized")
        """A permission is missing. EC2 has a code of its own for it, which ends an attempt as any other."""
        self.profile_unknown = code == "InvalidParameterValue" and "iamInstanceProfile" in message
        """EC2 does not know the instance profile it was given. It learns of a new one some seconds after IAM has it."""


def meaning_of(code: str, http_status: int | None) -> Meaning:
    """Look a code up; only where the table is silent does the HTTP status speak."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    return Meaning.BACK_OFF if http_status is not None and http_status >= 500 else Meaning.FATAL


def from_botocore(error: Exception, *, service: str, operation: str, place: str) -> GputxError:
    """Turn whatever botocore raised into our words.

    Args:
        place: the region, for the message of a connection that could not be made.
    """
    call = f"{service}:{operation}"
    if isinstance(error, _NO_CREDENTIALS):
        return no_credentials(error)
    if isinstance(error, boto.ClientError):
        details = error.response.get("Error", {})
        code = str(details.get("Code", "Unknown"))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        meaning = meaning_of(code, status)
        # A throttled call was not begun; any other 5xx may have taken effect before it failed.
        lost = meaning is Meaning.BACK_OFF and code not in _THROTTLES and (status or 0) >= 500
        message = f"{code} from {call}: {(details.get('Message') or '').strip() or 'no message'}"
        return AwsError(message, code=code, meaning=meaning, lost=lost, hint=_hint(code, meaning, call))
    if isinstance(error, _NEVER_SENT):
        return AwsError(
            f"AWS can't be reached in {place} ({call})",
            code=type(error).__name__,
            meaning=Meaning.BACK_OFF,
            hint="is there a network, and is the region's name right? `gputx config show` prints it",
        )
    if isinstance(error, _LOST):
        return AwsError(
            f"no answer from AWS to {call}: {error}",
            code=type(error).__name__,
            meaning=Meaning.BACK_OFF,
            lost=True,
            hint="try again when the network is back",
        )
    # An answer that can't be read is an answer that was lost, whatever it said.
    return AwsError(f"{call} failed: {error}", code=type(error).__name__, meaning=Meaning.FATAL, lost=True)


def no_credentials(error: Exception) -> ConfigurationError:
    """The message for every way of having no usable credentials."""
    missing = ConfigurationError(
        "no AWS credentials found" if isinstance(error, boto.NoCredentialsError) else f"no AWS credentials: {error}",
        details=("looked in: environment, shared config and credentials files, SSO, instance role",),
        hint="`aws configure sso`, or try it without an account: gputx run --on sandbox FILE",
    )
    missing.renewable = True
    return missing


def _hint(code: str, meaning: Meaning, call: str) -> str | None:
    if code in _CLOCK:
        return "is this machine's clock right? If it is, renew your credentials (`aws sso login`)"
    if meaning is Meaning.CREDENTIALS:
        return "renew your credentials (`aws sso login`), choose others with --profile, or enable the region"
    if meaning is Meaning.FULL:
        return "make room (`gputx ami prune --keep 1`), or ask for more: Service Quotas, Amazon EC2, AMIs"
    if meaning is Meaning.WAIT_FOR_AWS:
        return "AWS is verifying the account; it usually takes under four hours. Try again then"
    if meaning is Meaning.DENIED or code.startswith("Unauthorized"):
        return f"the credentials in use may not call {call}; ask whoever manages the account for it"
    return None


def _exit_code(meaning: Meaning) -> ExitCode:
    if meaning in {Meaning.NEXT_POOL, Meaning.NO_MORE_SPOT, Meaning.NO_SPOT_YET, Meaning.QUOTA, Meaning.FULL}:
        return ExitCode.CAPACITY
    if meaning in {Meaning.CREDENTIALS, Meaning.DENIED, Meaning.WAIT_FOR_AWS, Meaning.FATAL}:
        return ExitCode.CONFIGURATION
    return ExitCode.FAILED
