"""Engines turn 16 kHz audio into timed text: the port they share, and each engine in a file of its own.

No files, sockets or cloud in here: samples come in, segments go out.
"""

import os

# OpenMP's threads wait by spinning unless told otherwise before torch is loaded. Where cores are shared, as in the
# sandbox, they steal from those that work: 90 s of speech took 3.5 to 6 s instead of 6 to 31 s on two busy cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
