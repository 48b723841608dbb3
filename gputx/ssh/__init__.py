"""Reaching an instance: keys, a pinned connection, commands, streams, uploads, and the payload that travels.

The only place that sees paramiko, and paramiko itself rather than fabric, which hard-codes AutoAddPolicy:
here one host key is accepted, the one the launch gave the instance. No AWS name, no workflow, no print; and
nothing is imported here, so that ``gputx --help`` never pays for a cryptography library.
"""
