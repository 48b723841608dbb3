"""The guest's own operating system: init, cloud-init, sshd, IMDS, run by the guest's first process.

It is copied into the guest and started there by the image's Python, so it imports only the standard library,
asyncssh and PyYAML, and itself relatively. Nothing of gputx may be imported here.
"""
