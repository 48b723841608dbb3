"""Who is calling: the same name in every process of theirs."""

from __future__ import annotations

from typing import Any

import pytest

from gputx.aws.identity import lasting, whoami

ROLE = "arn:aws:sts::123456789012:assumed-role/dev"


class Sts:
    """Answers as AWS does under a profile that assumes a role: with a session named after the time."""

    def __init__(self) -> None:
        self._started = 1_790_000_000

    def call(self, service: str, operation: str) -> dict[str, Any]:
        assert (service, operation) == ("sts", "GetCallerIdentity")
        self._started += 1
        return {"Account": "123456789012", "Arn": f"{ROLE}/botocore-session-{self._started}"}


def test_a_role_that_botocore_assumes_is_one_caller() -> None:
    sts = Sts()
    first, second = (whoami(sts) for _ in range(2))  # type: ignore[arg-type]
    assert first == second
    assert first.arn == ROLE


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::123456789012:user/eva",
        "arn:aws:iam::123456789012:user/botocore-session-1790000000",
        f"{ROLE}/eva",
        f"{ROLE}/botocore-session-eva",
        f"{ROLE}/botocore-session-1790000000-eva",
        "",
    ],
)
def test_a_name_that_somebody_chose_is_kept(arn: str) -> None:
    assert lasting(arn) == arn
