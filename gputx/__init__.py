"""gputx: Swedish speech to text on a cloud GPU that exists only while it is needed."""

__version__ = "0.1.0"
