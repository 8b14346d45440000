"""The words of a command line: how options may be spelt, and which of them are Beam's.

What the parser does not know is Beam's; what neither knows is an error that offers the nearest.
"""

import argparse
import difflib
from collections.abc import Collection, Mapping, Sequence

from pipeline.errors import UsageError

_INSTEAD = {"--dry_run": "--check"}  # Beam's, of another meaning
_LONG_DASHES = ("\N{EN DASH}", "\N{EM DASH}")  # which word processors make of two
_ALIKE = 0.7  # of a misspelt name, by difflib; less is another word
_LISTS = ("--input", "--features", "--keys")
_ONE_VALUE = argparse._StoreAction | argparse._StoreConstAction  # others collect what they get


def spelt(words: Sequence[str], known: Collection[str]) -> list[str]:
    """A command line in which options are spelt as they are known, with dashes or underscores."""
    return [_as_known(word, known) for word in words]


def _as_known(word: str, known: Collection[str]) -> str:
    name, equals, value = word.partition("=")
    spellings = (name, _underscored(name), f"--{name[2:].replace('_', '-')}")
    is_option = name.startswith("--")
    as_known = next((s for s in spellings if is_option and s in known), name)
    return f"{as_known}{equals}{value}"


def _underscored(name: str) -> str:
    return f"--{name[2:].replace('-', '_')}"


def check_words(words: Sequence[str], actions: Mapping[str, argparse.Action]) -> None:
    """Raises a UsageError for an option that is given twice, is empty, or that another stands for.

    The last would win, and an empty one is a script's variable that is not set. So it does for one
    that is misspelt where it has to be.
    """
    seen, unknown = set[str](), list[str]()
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if word[0:1] in _LONG_DASHES and _as_known(f"--{name[1:]}", actions) in actions:
            raise UsageError(f"{name} begins with a long dash: write --{name[1:]}, with two short")
        if not name.startswith("--"):
            continue
        if _underscored(name) in _INSTEAD:
            raise UsageError(f"unknown option {name}: did you mean {_INSTEAD[_underscored(name)]}?")
        if name not in actions:
            unknown.append(name)
            continue
        action = actions[name]
        if not equals and action.nargs != 0:
            value = words[i + 1] if i + 1 < len(words) else "missing"  # which the parser says
        if (equals or action.nargs != 0) and not value.strip():
            raise UsageError(f"{name} is empty: is a variable not set? Else leave it out")
        if action.dest in seen and isinstance(action, _ONE_VALUE):
            once = "put commas between its values" if name in _LISTS else "give it once"
            raise UsageError(f"{name} is given twice: {once}")
        seen.add(action.dest)
    needed = [name for name, action in actions.items() if action.required]
    missing = [name for name in needed if actions[name].dest not in seen]
    for name in unknown:
        if meant := _nearest(name, missing):
            raise UsageError(f"unknown option {name}: did you mean {meant}?")


def beam_options(
    rest: Sequence[str], own: Collection[str], others: Mapping[str, str]
) -> tuple[str, ...]:
    """Beam's options as it spells them.

    Args:
        rest: what the command's parser does not know.
        own: the options that it knows.
        others: those of other commands, each with its command.

    Raises:
        UsageError: Beam does not know one either, or it is given twice or empty.
    """
    if not rest:
        return ()
    check_words(rest, {})
    from pipeline.command_line.beam_options import beam_parser

    parser = beam_parser()
    words = spelt(rest, parser._option_string_actions)
    check_words(words, parser._option_string_actions)
    try:
        _, unknown = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from error
    if unknown:
        raise UsageError(_unknown(unknown[0], {*own, *parser._option_string_actions}, others))
    return tuple(words)


def _unknown(word: str, known: Collection[str], others: Mapping[str, str]) -> str:
    if not word.startswith("--") or word == "--":
        return f"unexpected argument {word!r}"
    name = word.partition("=")[0]
    if _underscored(name) in others:
        return f"{name} is an option of {others[_underscored(name)]}: leave it out here"
    nearest = _nearest(name, known)
    return f"unknown option {name}" + (f": did you mean {nearest}?" if nearest else "")


def _nearest(name: str, known: Collection[str]) -> str | None:
    """The option that a name is a misspelling of; the dashes before it count for nothing."""
    names = (option[2:] for option in known if option.startswith("--"))
    near = difflib.get_close_matches(_underscored(name)[2:].lower(), names, 1, _ALIKE)
    return f"--{near[0]}" if near else None
