"""The command line of a JVM as Flink and Spark need it on Java 11 and 17."""

from collections.abc import Iterable
from pathlib import Path

from cluster.build import require

# Both engines and Beam reach into these packages by reflection, closed since Java 16.
OPENED_PACKAGES = (
    "java.lang",
    "java.lang.invoke",
    "java.lang.reflect",
    "java.io",
    "java.net",
    "java.nio",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
    "jdk.internal.ref",
    "sun.nio.ch",
    "sun.nio.cs",
    "sun.security.action",
    "sun.util.calendar",
)


def java_program() -> str:
    """The path of the JVM; a clear error where there is none."""
    return require("java", "Flink, Spark and Beam's job servers run on Java 11 or 17")


def java(main: str, classpath: Iterable[Path | str], options: Iterable[str] = ()) -> list[str]:
    """The command that runs a main class, up to the main class's own arguments."""
    opened = (f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED_PACKAGES)
    exported = "--add-exports=java.base/sun.net.util=ALL-UNNAMED"
    path = ":".join(str(entry) for entry in classpath)
    return [java_program(), *opened, exported, *options, "-cp", path, main]
