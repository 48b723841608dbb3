"""Launch templates: what a launch may leave out because a template says it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from datetime import UTC
from typing import Any

from gputx.sandbox.plane.emulator import Ec2Call
from gputx.sandbox.plane.matching import by_tags, passes
from gputx.sandbox.plane.orders import check_tag_keys
from gputx.sandbox.plane.tokens import Tokens, fingerprint_of
from gputx.sandbox.plane.wire import AwsError, NotEmulated, decode_page, encode_page

_PAGE = 200
_TEMPLATE_TAG = "aws:ec2launchtemplate:"
# A launch names its groups in one way or the other: what it says of either stands for both.
_GROUPS = ("SecurityGroups", "SecurityGroupIds")


class TemplateActions:
    """CreateLaunchTemplate, its versions, Describe and Delete; moto keeps the templates."""

    def __init__(self) -> None:
        self._tokens = Tokens()

    def create_launch_template(self, call: Ec2Call) -> dict[str, Any]:
        """CreateLaunchTemplate; the same token and parameters answer as the first time."""
        params = call.params
        scope, token, fingerprint = (call.region,), params.get("ClientToken") or "", fingerprint_of(params)
        if remembered := self._tokens.recall(scope, token, fingerprint):
            answered: dict[str, Any] = remembered
            return answered
        tags = _own_tags(params, "launch-template")
        data = params.get("LaunchTemplateData")
        if not data:
            raise AwsError("MissingParameter", "The request must contain the parameter LaunchTemplateData")
        template = call.backend.create_launch_template(
            params.get("LaunchTemplateName"), params.get("VersionDescription"), data, {}
        )
        call.backend.create_tags([template.id], tags)
        answer = {"LaunchTemplate": _as_response(call.backend, template)}
        self._tokens.keep(scope, token, fingerprint, answer)
        return answer

    def create_launch_template_version(self, call: Ec2Call) -> Any:
        """CreateLaunchTemplateVersion: what it does not say is taken from SourceVersion, if one is named."""
        template = find_template(call.backend, call.params)
        if source := call.params.get("SourceVersion"):
            inherited = copy.deepcopy(version_of(template, source).data)
            call.params["LaunchTemplateData"] = {**inherited, **(call.params.get("LaunchTemplateData") or {})}
        return call.to_moto()

    def describe_launch_templates(self, call: Ec2Call) -> dict[str, Any]:
        """DescribeLaunchTemplates, by ids, by names, or all, through every filter, in pages."""
        backend, params = call.backend, call.params
        named = [find_template(backend, {"LaunchTemplateId": i}) for i in params.get("LaunchTemplateIds") or []]
        named += [find_template(backend, {"LaunchTemplateName": n}) for n in params.get("LaunchTemplateNames") or []]
        found = named or list(backend.launch_templates.values())
        for name, patterns in call.filters.items():
            found = [template for template in found if _passes(backend, template, name, patterns)]
        start = decode_page(params.get("NextToken"))
        end = start + int(params.get("MaxResults") or _PAGE)
        return {
            "LaunchTemplates": [_as_response(backend, template) for template in found[start:end]],
            "NextToken": encode_page(end) if end < len(found) else None,
        }

    def delete_launch_template(self, call: Ec2Call) -> dict[str, Any]:
        """DeleteLaunchTemplate, all its versions with it. What was launched from it goes on."""
        template = find_template(call.backend, call.params)
        answer = _as_response(call.backend, template)
        call.backend.delete_launch_template(None, template.id)
        call.backend.tags.pop(template.id, None)
        return {"LaunchTemplate": answer}


def find_template(backend: Any, named: dict[str, Any]) -> Any:
    """The template of a ``LaunchTemplateId`` or a ``LaunchTemplateName``.

    Raises:
        AwsError: InvalidLaunchTemplateId.NotFound, InvalidLaunchTemplateName.NotFoundException,
            MissingParameter, InvalidParameterCombination.
    """
    template_id, name = named.get("LaunchTemplateId"), named.get("LaunchTemplateName")
    if template_id and name:
        raise AwsError(
            "InvalidParameterCombination",
            "The parameter launchTemplateId cannot be used with the parameter launchTemplateName",
        )
    if template_id:
        if template_id not in backend.launch_templates:
            raise AwsError("InvalidLaunchTemplateId.NotFound", f"The launch template ID '{template_id}' does not exist")
        return backend.launch_templates[template_id]
    if not name:
        raise AwsError("MissingParameter", "Either launch template ID or launch template name must be specified")
    if name not in backend.launch_template_name_to_ids:
        raise AwsError(
            "InvalidLaunchTemplateName.NotFoundException",
            f"The specified launch template, with template name {name}, does not exist.",
        )
    return backend.launch_templates[backend.launch_template_name_to_ids[name]]


def version_of(template: Any, asked: str | None) -> Any:
    """A version by its number, ``$Latest`` or ``$Default``; the default version for None.

    Raises:
        AwsError: InvalidLaunchTemplateId.VersionNotFound.
    """
    if asked in (None, "", "$Default"):
        return template.default_version()
    if asked == "$Latest":
        return template.latest_version()
    for version in template.versions:
        if str(version.number) == str(asked):
            return version
    raise AwsError(
        "InvalidLaunchTemplateId.VersionNotFound",
        f"Could not find the specified version {asked} for the launch template with ID {template.id}.",
    )


def apply_template(call: Ec2Call) -> dict[str, str]:
    """Complete a RunInstances request by the template it names, and take the name out of it.

    Returns:
        The tags that AWS puts on an instance launched from a template; none where it names none.

    Raises:
        AwsError: there is no such template or version.
    """
    named = call.params.pop("LaunchTemplate", None)
    if not named:
        return {}
    template = find_template(call.backend, named)
    version = version_of(template, named.get("Version"))
    merged = merge(version.data, call.params)
    call.params.clear()
    call.params.update(merged)
    return template_tags(version)


def template_tags(version: Any) -> dict[str, str]:
    """What AWS notes on an instance about the template it was launched from."""
    return {f"{_TEMPLATE_TAG}id": version.template.id, f"{_TEMPLATE_TAG}version": str(version.number)}


def merge(data: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """A template's data with the parameters of a launch over it; neither is changed.

    A parameter of the launch takes the place of the template's. Only tags and disks are laid over each other: key
    by key, and device by device.

    Raises:
        AwsError: NotEmulated, for a template that describes instance types by what they have.
    """
    if data.get("InstanceRequirements"):
        raise NotEmulated("ec2", "RunInstances", "by instance requirements")
    given = {name: value for name, value in params.items() if value is not None}
    base = {name: value for name, value in copy.deepcopy(data).items() if value is not None}
    if any(given.get(name) for name in _GROUPS):
        base = {name: value for name, value in base.items() if name not in _GROUPS}
    merged = {**base, **given}
    if "TagSpecifications" in base and "TagSpecifications" in given:
        merged["TagSpecifications"] = merge_tags(base["TagSpecifications"], given["TagSpecifications"])
    if "BlockDeviceMappings" in base and "BlockDeviceMappings" in given:
        devices = [*base["BlockDeviceMappings"], *given["BlockDeviceMappings"]]
        merged["BlockDeviceMappings"] = list({device.get("DeviceName"): device for device in devices}.values())
    return merged


def merge_tags(*specifications: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tag specifications laid over each other, the later over the earlier, for each type of resource."""
    tags: dict[str, dict[str, str]] = {}
    for specification in specifications:
        for entry in specification:
            of_type = tags.setdefault(entry["ResourceType"], {})
            of_type.update({tag["Key"]: tag.get("Value", "") for tag in entry.get("Tags") or []})
    return [
        {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in of_type.items()]}
        for kind, of_type in tags.items()
    ]


def _own_tags(params: dict[str, Any], kind: str) -> dict[str, str]:
    tags: dict[str, str] = {}
    for entry in params.get("TagSpecifications") or []:
        if entry.get("ResourceType") != kind:
            raise AwsError(
                "InvalidParameterValue",
                f"'{entry.get('ResourceType')}' is not a valid taggable resource type for this operation.",
            )
        check_tag_keys(tag["Key"] for tag in entry.get("Tags") or [])
        tags.update({tag["Key"]: tag.get("Value", "") for tag in entry.get("Tags") or []})
    return tags


def _passes(backend: Any, template: Any, name: str, patterns: list[str]) -> bool:
    said = by_tags(name, patterns, backend.tags.get(template.id, {}))
    if said is not None:
        return said
    known: dict[str, Callable[[], Iterable[object]]] = {
        "launch-template-name": lambda: [template.name],
        "create-time": lambda: [template.create_time],
    }
    nothing_more = r"(?!)"
    return passes("DescribeLaunchTemplates", name, patterns, known, nothing_more)


def _as_response(backend: Any, template: Any) -> dict[str, Any]:
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "CreateTime": template.create_time.replace(tzinfo=UTC),
        "CreatedBy": f"arn:aws:iam::{backend.account_id}:root",
        "DefaultVersionNumber": template.default_version_number,
        "LatestVersionNumber": template.latest_version_number,
        "Tags": [{"Key": key, "Value": value} for key, value in backend.tags.get(template.id, {}).items()],
    }
