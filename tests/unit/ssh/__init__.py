"""Tests of ``gputx.ssh`` against a real SSH server in a process of its own, on loopback."""
