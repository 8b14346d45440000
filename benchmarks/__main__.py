"""`python -m benchmarks [NAME …]`: BY_DEFAULT, or what is named."""

import argparse
from importlib import import_module

BY_DEFAULT = (
    "overhead",
    "speed",
    "converged",
    "wide",
    "files",
    "rounds",
    "memory",
    "growth",
    "staged",
    "workers",
    "small",
)
NAMES = (
    *BY_DEFAULT,
    "mllib",  # needs Java
    "starts",
    "trials",
    "regression",
    "speed_picture",
    "scale_picture",
    "scale",  # needs Java and Maven
    "clusters",  # and Go
)


def main() -> None:
    """Prints the machine and a table for each benchmark asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    names = parser.parse_args().names or BY_DEFAULT
    for unknown in set(names) - set(NAMES):
        parser.error(f"no benchmark {unknown}: choose from {', '.join(NAMES)}")
    from benchmarks.processes import machine
    from pipeline.console import quiet_logs

    quiet_logs()
    print(machine(), flush=True)
    for name in names:
        measured = import_module(f"benchmarks.{name}").measure()
        print(f"\n## {name}\n\n{measured}", flush=True)


if __name__ == "__main__":
    main()
