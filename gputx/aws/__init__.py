"""Everything gputx asks of AWS, and the only place that sees boto3.

Requests are built by pure functions, answers become the nouns of ``gputx.models``, and what an error means is
decided once, in ``errors.py``. No botocore exception and no AWS-shaped dictionary leaves this package.
"""
