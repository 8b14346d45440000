"""How --help tells the defaults of options, and the exit codes and examples at its end."""

import argparse

FIT = "kmeans-tf fit --input events/ --output out/monday --k 8 --keys id --scale standard"
NIGHTLY = "kmeans-tf fit --input 'events/{date}' --output 'out/{date}' --init 'out/{yesterday}'"
LABEL = "kmeans-tf label --input tuesday/ --model out/monday --output out/tuesday --keys id"
EXAMPLES = {
    "fit": (FIT, NIGHTLY),
    "label": (
        LABEL,
        "kmeans-tf label --input 's3://bucket/in' --model out/monday --output 's3://bucket/out'",
    ),
    "report": ("kmeans-tf report out/monday", "kmeans-tf report out/monday/_rejected"),
    "diff": ("kmeans-tf diff out/monday out/tuesday", "kmeans-tf diff out/flink out/spark"),
}
_DONE, _INTERRUPTED = {0: "done", 1: "a bug of kmeans-tf"}, {130: "interrupted"}
_USAGE = {2: "usage: the options do not say what to do"}
_JOB = {
    3: "the data breaks the contract",
    5: "the runner or the disk failed; the same command resumes, where the message says so",
}
_RESUMED = {130: "interrupted; the same command resumes"}
EXIT_CODES: dict[str, dict[int, str]] = {
    "fit": _DONE | _USAGE | _JOB | {4: "a gate said no; the answer lies in _rejected/"} | _RESUMED,
    "label": _DONE | _USAGE | _JOB | _RESUMED,
    "report": _DONE | _USAGE | {5: "the disk failed"} | _INTERRUPTED,
    "diff": {0: "the answers are the same", 1: "they differ", 2: "a folder is no output"}
    | _INTERRUPTED,
}
_NOTES = {
    "fit": "Options of Beam and of its runners pass through.",
    "label": "Options of Beam and of its runners pass through. Gates are fit's.",
}


def epilog(command: str) -> str:
    """What stands at the end of a command's help."""
    parts = [_NOTES[command]] if command in _NOTES else []
    return "\n\n".join([*parts, _exit_codes(command), _examples(EXAMPLES[command])])


def epilog_of_all() -> str:
    """What stands at the end of the help of the whole."""
    more = "'kmeans-tf COMMAND --help' tells the options of one."
    return "\n\n".join([more, _exit_codes("fit"), _examples((FIT, LABEL))])


def _exit_codes(command: str) -> str:
    lines = [f"  {code:<3}  {text}" for code, text in sorted(EXIT_CODES[command].items())]
    return "\n".join(["exit codes:", *lines])


def _examples(lines: tuple[str, ...]) -> str:
    return "\n".join(["examples:", *(f"  {line}" for line in lines)])


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Tells the default of every option that has one and does not tell of it."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        has_none = action.nargs == 0 or action.default in (None, "", argparse.SUPPRESS)
        if has_none or "default" in text or not action.option_strings:
            return text
        return f"{text} (default: {action.default})".strip()
