"""`python -m benchmarks [NAME …]`: overhead, iteration, memory by default; see ON_DEMAND."""

import argparse

BENCHMARKS = ("overhead", "iteration", "memory")
# "clusters" and "scale" need Java and Maven, the first Go too.
ON_DEMAND = ("wide", "starts", "files", "clusters", "scale", "scale_picture")


def main() -> None:
    """Prints the machine and a table for each benchmark asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS + ON_DEMAND))
    names = parser.parse_args().names or BENCHMARKS
    unknown = sorted(set(names) - {*BENCHMARKS, *ON_DEMAND})
    if unknown:
        parser.error(f"no benchmark {unknown[0]}: choose from {', '.join(BENCHMARKS + ON_DEMAND)}")
    from benchmarks import (
        clusters,
        files,
        iteration,
        memory,
        overhead,
        scale,
        scale_picture,
        starts,
        wide,
    )
    from benchmarks.processes import machine
    from pipeline.console import quiet_logs

    quiet_logs()
    modules = {
        "overhead": overhead,
        "iteration": iteration,
        "memory": memory,
        "wide": wide,
        "starts": starts,
        "files": files,
        "clusters": clusters,
        "scale": scale,
        "scale_picture": scale_picture,
    }
    print(machine(), flush=True)
    for name in names:
        print(f"\n## {name}\n\n{modules[name].measure()}", flush=True)


if __name__ == "__main__":
    main()
