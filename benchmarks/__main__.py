"""`python -m benchmarks [iteration] [overhead] [memory]`: all of them by default."""

import argparse

BENCHMARKS = ("overhead", "iteration", "memory")


def main() -> None:
    """Prints the machine and a table for each benchmark asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or BENCHMARKS
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no benchmark {unknown[0]}: there are {', '.join(BENCHMARKS)}")
    from benchmarks import iteration, memory, overhead
    from benchmarks.processes import machine
    from pipeline.runner import quiet_logs

    quiet_logs()
    modules = {"iteration": iteration, "memory": memory, "overhead": overhead}
    print(machine(), flush=True)
    for name in names:
        print(f"\n## {name}\n\n{modules[name].measure()}", flush=True)


if __name__ == "__main__":
    main()
