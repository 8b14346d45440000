"""What the user reads while the job runs."""

import sys


def say(text: str) -> None:
    """One plain line on standard error."""
    print(text, file=sys.stderr, flush=True)
