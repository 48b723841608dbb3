"""The command line: parse, build, call one workflow, render. The only place that prints or prompts.

Nothing heavy is imported until a command needs it: ``gputx --help`` loads no boto3, paramiko or torch.
"""
