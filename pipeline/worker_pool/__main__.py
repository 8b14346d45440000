"""The pool's command line: `python -m pipeline.worker_pool`."""

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from pipeline.console import say
from pipeline.environment import prepare_process
from pipeline.errors import INTERRUPTED, RunError
from pipeline.worker_pool.pool import serve
from pipeline.worker_pool.protocol import LOOPBACK

DEFAULT_PORT = 50000


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a pool; returns the exit code, 2 for options that do not say what to do."""
    prepare_process()
    parser = _parser()
    options = parser.parse_args(argv)
    if options.slots < 1:
        parser.error(f"argument --slots: {options.slots} given, at least 1 expected")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    try:
        serve(options.host, options.service_port, options.slots)
    except RunError as error:
        say(f"worker pool: {error}")
        return RunError.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.worker_pool", allow_abbrev=False)
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        help="the address to listen on (%(default)s: this machine, or this pod, alone). There is "
        "no authentication: whoever reaches the port can run code here. 0.0.0.0 where the asking "
        "process is in another network namespace",
    )
    parser.add_argument(
        "--service_port", type=int, default=DEFAULT_PORT, help="the port (%(default)s)"
    )
    parser.add_argument("--slots", type=int, default=1, help="worker processes (%(default)s)")
    return parser


def _end(number: int, _frame: object) -> NoReturn:
    """Ends the pool; a second signal cannot interrupt it and leave processes behind.

    Raises:
        SystemExit: always, wherever the main thread is; 0 for SIGTERM, the pool's normal end.
    """
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(INTERRUPTED if number == signal.SIGINT else 0)


if __name__ == "__main__":
    sys.exit(main())
