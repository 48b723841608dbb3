"""What ``gputx doctor`` looks at: one function a check, which asks and judges and changes nothing.

Here lives what a run needs and how to tell; how checks are carried out side by side is ``rounds.py``.
"""
