"""What runs beside the GPU: audio in, transcript out. Sent to an instance as one zip, or run here.

It may import numpy, soundfile, soxr, av, torch and transformers, and nothing of gputx, AWS or SSH.
"""

__version__ = "0.1.0"
PROTOCOL = 1
