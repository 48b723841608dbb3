"""The small recipe's own checks are for an image, and not for this machine."""

collect_ignore = ["small_ami"]
