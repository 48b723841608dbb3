"""gputx as it is, with the small recipe of these tests where its own would be: ``python small_build.py build-ami …``.

The recipe is the directory that ``SMALL_AMI`` names, or the one beside this file. ``SMALL_IMAGING`` is for how many
seconds an image may be pending.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gputx.ami import recipe
from gputx.cli.main import main

SMALL = Path(os.environ.get("SMALL_AMI") or Path(__file__).with_name("small_ami"))

if __name__ == "__main__":
    recipe.recipe_root = lambda: SMALL
    if seconds := os.environ.get("SMALL_IMAGING"):
        from gputx.workflows import image_lease

        image_lease.IMAGING_SECONDS = float(seconds)
    sys.exit(main())
