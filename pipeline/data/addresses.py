"""How places are spelt: one spelling for each, and a reason where one cannot be meant.

And how they are told: without what gives access to them.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from pipeline.errors import UsageError

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(/{0,2})(.*)", re.S)
_SAME = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_HIDDEN = "***"
_SECRET = (
    r"[\w.-]*(?:secret|key|token|pass|pwd|credential|signature|sig\b|connection_string)[\w.-]*"
)
# Behind the colon stands a port where the kind of store has one; else it is one that lacks its `@`.
_PASSWORD = re.compile(
    r"((?:(?<![\w+.-])(s3[an]?|gc?s)|\w[\w+.-]*):/{1,2}[^/@:,\s]*):(?(2)|(?!\d+(?:[/,\s]|$)))"
    r"(?:[^@\s]*(?:@[^/@\s]*)*@|(?(2)[^\s,]+|(?!)))"
)
_IN_QUERY = re.compile(rf"([?&]{_SECRET}=)[^&,\s'\"]*", re.I)
_QUOTE = r"""\\?['"]"""
_IN_JSON = re.compile(rf"({_QUOTE}{_SECRET}{_QUOTE}\s*:\s*{_QUOTE})(?:(?!{_QUOTE}).)*", re.I | re.S)
_NO_SECRETS = ("--keys",)  # of the job's own
_OPTION = re.compile(rf"(--{_SECRET})(=?)(.*)", re.I | re.S)
_WITH_BUCKETS = ("s3", "gs")
_STORES = (*_WITH_BUCKETS, "abfs", "abfss", "hdfs", "viewfs")
OTHER_STORES = "copy it to s3://, gs://, abfss:// or hdfs://, or to a folder"
_MOUNTS = {"dbfs": "/dbfs"}  # stores that are folders of the machines that have them


def spelt(address: str) -> str:
    """A local path, or a URI by the name that Arrow has for its kind of store.

    Raises:
        UsageError: it is of neither kind; the message has the spelling to use. Taken for a local
            path it would become a folder called `~` or `hdfs:`.
    """
    if address.startswith("/"):
        return address
    if address.startswith("~"):
        return _at_home(address)
    match = _URI.match(address)
    if not match:
        return address
    name, slashes, rest = match.groups()
    scheme = _SAME.get(name.lower(), name.lower())
    is_known = scheme in (*_STORES, *_MOUNTS, "file")
    if not (slashes or is_known or (len(name) == 1 and rest.startswith("\\"))):
        return address
    if scheme == "file" and slashes:
        return _file(address, slashes, rest)
    if scheme in _MOUNTS or slashes != "//":
        raise UsageError(
            f"{address}: {_meant(name, scheme, rest)}./{address} for a file of this name"
        )
    if scheme in _WITH_BUCKETS and _lacks_bucket(rest):
        raise UsageError(f"{address}: no bucket is named: write {scheme}://BUCKET/PATH")
    return f"{scheme}://{rest}"


def _lacks_bucket(rest: str) -> bool:
    """Whether there is none behind a store's name, or only who is to be let in."""
    first = re.split("[/?]", rest, maxsplit=1)[0]
    return not first or (":" in first and "@" not in rest)


def masked(text: str) -> str:
    """Text that may be said or kept: secrets in URIs, by user or option, and in JSON are hidden."""
    for pattern in (_IN_JSON, _IN_QUERY):
        text = pattern.sub(rf"\1{_HIDDEN}", text)
    return _PASSWORD.sub(rf"\1:{_HIDDEN}@", text)


def masked_words(words: Sequence[str]) -> list[str]:
    """The words of a command line as `masked` has them, without values of options that are keys."""
    told: list[str] = []
    is_secret = False  # whether the word before named one
    for word in words:
        option = _OPTION.fullmatch(word)
        value = _HIDDEN if is_secret and not word.startswith("--") else masked(word)
        names_one = option is not None and option[1] not in _NO_SECRETS
        told.append(f"{option[1]}={_HIDDEN}" if option and names_one and option[2] else value)
        is_secret = option is not None and names_one and not option[2]
    return told


def is_uri(place: str) -> bool:
    """Whether a place, as `spelt` has it, is a URI and no local path."""
    match = None if place.startswith("/") else _URI.match(place)
    return match is not None and match[2] == "//"


def _meant(name: str, scheme: str, rest: str) -> str:
    """What may be meant by an address that is none, before a local name."""
    if scheme in _STORES:
        host = "HOST:PORT/" if scheme in ("hdfs", "viewfs") else ""
        return f"write {scheme}://{host}{rest}, or "
    if scheme == "file":
        return f"write file:/{rest}, or "
    if scheme in _MOUNTS:
        return f"write {_MOUNTS[scheme]}/{rest.lstrip('/')}, or "
    return f"no store is called {name}: write "


def _at_home(path: str) -> str:
    try:
        home = str(Path(path).expanduser())
    except RuntimeError:
        home = ""
    if not home.startswith("/") or (path[1:2] in ("", "/") and os.environ.get("HOME") == ""):
        raise UsageError(
            f"{path}: there is no home folder {path.partition('/')[0]}: write the whole path, or "
            f"./{path} for a name that begins with ~"
        )
    return home


def _file(address: str, slashes: str, rest: str) -> str:
    """The local path of a file's URI: file:/x, file:///x or file://localhost/x."""
    host, slash, path = rest.partition("/") if slashes == "//" else ("", "/", rest)
    if not slash or host not in ("", "localhost"):
        raise UsageError(f"{address}: write file:///PATH for a file of this machine")
    return "/" + unquote(path, errors="surrogateescape").lstrip("/")
