"""The promise that an instance ends: signals that only set a flag, a guard that ends what was launched, a sweep.

Knows no AWS: it is given a :class:`gputx.lease.guard.Custody`. May not print, and never launches anything.
"""
