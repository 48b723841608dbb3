"""The control plane: moto behind a layer that adds what moto lacks or gets wrong, in the terms of AWS's API.

Loaded by the daemon only. Nothing here knows what runs in a guest or why; only ``emulator`` patches moto.
"""
