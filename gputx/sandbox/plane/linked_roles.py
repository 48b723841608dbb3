"""The service-linked role of spot: made once, by its own name, and deleted only where nothing needs it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.wire import AwsError, NotEmulated

NAME = "AWSServiceRoleForEC2Spot"
SERVICE = "spot.amazonaws.com"


class LinkedRoles:
    """Takes the place of moto's actions, which name the role otherwise and delete it whatever runs.

    Args:
        needed_by: ids of what needs the role now: spot instances.
    """

    def __init__(self, needed_by: Callable[[], list[str]]) -> None:
        self._needed_by = needed_by
        # Deletion task → why it failed; empty where it did not.
        self._tasks: dict[str, str] = {}
        self._installed = False

    def install(self) -> None:
        """Once, when IAM is first asked for something."""
        if self._installed:
            return
        emulator.install_iam(
            {
                "create_service_linked_role": self._create,
                "delete_service_linked_role": self._delete,
                "get_service_linked_role_deletion_status": self._status,
            }
        )
        self._installed = True

    def _create(self, get: Callable[[str], Any]) -> dict[str, Any]:
        if get("AWSServiceName") != SERVICE:
            raise NotEmulated("iam", "CreateServiceLinkedRole", f"for {get('AWSServiceName')}")
        if NAME in emulator.role_names():
            message = f"Service role name {NAME} has been taken in this account, please try a different suffix."
            raise AwsError("InvalidInput", message)
        return {"Role": emulator.make_linked_role(NAME, SERVICE)}

    def _delete(self, get: Callable[[str], Any]) -> dict[str, Any]:
        if get("RoleName") != NAME or NAME not in emulator.role_names():
            raise AwsError("NoSuchEntity", f"Role {get('RoleName')} not found", 404)
        task = f"task/aws-service-role/{SERVICE}/{NAME}/{uuid.uuid4()}"
        needed = self._needed_by()
        self._tasks[task] = f"A service-linked role is required by {', '.join(needed)}." if needed else ""
        if not needed:
            emulator.iam().delete_role(NAME)
        return {"DeletionTaskId": task}

    def _status(self, get: Callable[[str], Any]) -> dict[str, Any]:
        why = self._tasks.get(str(get("DeletionTaskId")))
        if why is None:
            raise AwsError("NoSuchEntity", "There is no such deletion task.", 404)
        return {"Status": "FAILED", "Reason": {"Reason": why}} if why else {"Status": "SUCCEEDED"}
