"""The command line: `python -m cluster --help`."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from cluster import fake_gcs, flink, prism, processes, seaweed, spark
from cluster.home import ClusterError

FAILED = 5
CLUSTERS: dict[str, ModuleType] = {"flink": flink, "spark": spark, "prism": prism}
SERVERS: dict[str, ModuleType] = {**CLUSTERS, "s3": seaweed, "gs": fake_gcs}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code, 5 when a cluster or a program it needs fails."""
    arguments = parser().parse_args(argv)
    try:
        arguments.command(arguments)
        sys.stdout.flush()
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # what reads the output, like `head`, has seen enough
        # What is still buffered is written at exit, and must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    result = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    commands = result.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("flink-up", help="start Flink, a job server and a worker pool")
    command.add_argument("--taskmanagers", type=int, default=flink.TASKMANAGERS)
    command.add_argument("--slots", type=int, default=flink.SLOTS, help="of each")
    command.set_defaults(command=lambda a: bring_up(flink, a.taskmanagers, a.slots))
    command = commands.add_parser("spark-up", help="start Spark, a job server and a worker pool")
    command.add_argument("--workers", type=int, default=spark.WORKERS)
    command.set_defaults(command=lambda a: bring_up(spark, a.workers))
    command = commands.add_parser("prism", help="build Prism and print where it is")
    command.set_defaults(command=lambda a: print(prism.program()))
    command = commands.add_parser("prism-up", help="build Prism and start a worker pool")
    command.set_defaults(command=lambda a: bring_up(prism))
    command = commands.add_parser("s3-up", help="start SeaweedFS, a store of objects")
    command.set_defaults(command=lambda a: bring_up(seaweed))
    command = commands.add_parser("gs-up", help="start fake-gcs-server, a store like Google's")
    command.set_defaults(command=lambda a: bring_up(fake_gcs))
    for name, module in SERVERS.items():
        command = commands.add_parser(f"{name}-down", help=f"end all processes of {name}")
        command.set_defaults(command=lambda a, module=module: module.down())
    command = commands.add_parser("status", help="what is up")
    command.set_defaults(command=print_status)
    command = commands.add_parser("options", help="print the options of a job")
    command.add_argument("cluster", choices=CLUSTERS)
    command.set_defaults(command=lambda a: print("\n".join(flags(CLUSTERS[a.cluster].options()))))
    return result


def bring_up(cluster: ModuleType, *sizes: int) -> None:
    """Starts a cluster and says what came of it."""
    cluster.up(*sizes)
    print(cluster.status())


def print_status(_: argparse.Namespace) -> None:
    """Every cluster's and server's health, then every process that was started."""
    for server in SERVERS.values():
        print(server.status())
    for name in processes.names():
        state = "running" if processes.running(name) else "ended"
        print(f"  {name}: {state}, pids {processes.pids(name)}, log {processes.log_path(name)}")


def flags(options: Mapping[str, object]) -> list[str]:
    """Options as a command line takes them."""
    return [f"--{key}={value}" for key, value in options.items()]


if __name__ == "__main__":
    sys.exit(main())
