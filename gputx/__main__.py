"""``python -m gputx``."""

import sys

from gputx.cli.main import main

sys.exit(main())
