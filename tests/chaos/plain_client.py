"""What most scripts do: launch in a ``try``, terminate in the ``finally``. The campaign's baseline; it leaks.

plain_client.py ENDPOINT REGION ACCESS_KEY SECRET_KEY
"""

from __future__ import annotations

import sys
import time
import uuid

import boto3

WORK_SECONDS = 1.0


def main(endpoint: str, region: str, access_key: str, secret_key: str) -> None:
    ec2 = boto3.client(
        "ec2",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )
    name = f"plain-{uuid.uuid4().hex[:8]}"
    image = ec2.describe_images(Owners=["self"], Filters=[{"Name": "tag-key", "Values": ["gputx:contract"]}])
    key = group = instance = None
    try:
        key = ec2.create_key_pair(KeyName=name)["KeyName"]
        group = ec2.create_security_group(GroupName=name, Description="plain")["GroupId"]
        ec2.authorize_security_group_ingress(
            GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="127.0.0.1/32"
        )
        launched = ec2.run_instances(
            ImageId=image["Images"][0]["ImageId"],
            InstanceType="g4dn.xlarge",
            MinCount=1,
            MaxCount=1,
            KeyName=key,
            SecurityGroupIds=[group],
        )
        instance = launched["Instances"][0]["InstanceId"]
        ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
        time.sleep(WORK_SECONDS)
    finally:
        if instance:
            ec2.terminate_instances(InstanceIds=[instance])
            ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
        if key:
            ec2.delete_key_pair(KeyName=key)
        if group:
            ec2.delete_security_group(GroupId=group)


if __name__ == "__main__":
    main(*sys.argv[1:])
