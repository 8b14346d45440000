"""Dataclasses as NumPy archives: arrays, and a JSON header for the rest; nothing is pickled.

One rule over the fields serves every class, so a field that is added tomorrow is written and read
like the others. JSON has no tuple, no float that is not finite and no key but a string, so a
value that is none of its own kinds is an object with one key, which names the kind.

Behind the archive stands a digest of it and of the file's name within the work folder, which is
itself named by a digest of the configuration: a damaged file is found, and so is another job's.
"""

import hashlib
import io
import json
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pyarrow as pa

VERSION = 3
_SEAL_BYTES = 16
_OWN_PARTS = 3  # of a path: the configuration's folder, a folder in it, the file
# NumPy's and zipfile's of bytes that are no archive, or a damaged one.
_DAMAGE = (ValueError, TypeError, KeyError, RuntimeError, EOFError, OSError, zipfile.BadZipFile)
_READING = threading.Lock()  # NumPy parses headers by ast, of which Python 3.11 confuses threads


class DamageError(ValueError):
    """A file is not whole, or another's."""


def pack(value: Any, path: str) -> bytes:
    """A dataclass of numbers, text, arrays, tuples, dicts, counters and dataclasses, as bytes.

    Args:
        path: of the file that they are for.
    """
    arrays: dict[str, np.ndarray] = {}
    header = json.dumps({"version": VERSION, "value": _plain(value, arrays)})
    stream = io.BytesIO()
    text = np.frombuffer(header.encode(), np.uint8)
    np.savez(stream, allow_pickle=False, header=text, **arrays)
    with stream.getbuffer() as content:
        seal = _digest(content, path)
    stream.seek(0, io.SEEK_END)
    stream.write(seal)
    return stream.getvalue()


def sealed(data: bytes, path: str) -> bytes:
    """The bytes of a file with the digest that `unsealed` looks for behind them."""
    return data + _digest(data, path)


def unsealed(data: bytes, path: str) -> memoryview:
    """What `sealed` was given; no copy.

    Raises:
        DamageError: it is something else, of another file, or not whole.
    """
    content, seal = memoryview(data)[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    if _digest(content, path) != seal:
        raise DamageError("it is damaged, or something else")
    return content


def seal_of(data: bytes) -> str:
    """The digest that `sealed` put behind some bytes."""
    return data[-_SEAL_BYTES:].hex()


def _digest(data: bytes | memoryview, path: str) -> bytes:
    own_name = "/".join(path.split("/")[-_OWN_PARTS:])
    digest = hashlib.blake2b(own_name.encode() + b"\0", digest_size=_SEAL_BYTES)
    digest.update(data)
    return digest.digest()


def unpack(data: bytes, kinds: Sequence[type], path: str) -> Any:
    """What `pack` was given.

    Args:
        kinds: the dataclasses that may be in it.
        path: of the file that it was read from.

    Raises:
        DamageError: it is not whole, or another's.
        ValueError: it is of another version, or a class has other fields.
    """
    content = unsealed(data, path)
    try:
        with _READING, np.load(pa.BufferReader(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop("header").tobytes())
    except _DAMAGE as error:
        raise ValueError("it is damaged, or something else") from error
    version = header.get("version") if isinstance(header, dict) else None
    if version != VERSION:
        raise ValueError(f"it is of version {version}, expected {VERSION}")
    try:
        return _Reader(arrays, {kind.__name__: kind for kind in kinds}).read(header["value"])
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _plain(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON has it; its arrays are put aside."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, np.ndarray):
        name = f"array{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, (tuple, list)):
        return {"tuple": [_plain(entry, arrays) for entry in value]}
    if isinstance(value, dict):
        kind = "counter" if isinstance(value, Counter) else "dict"
        return {kind: [[_plain(k, arrays), _plain(v, arrays)] for k, v in value.items()]}
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return {type(value).__name__: {n: _plain(v, arrays) for n, v in named.items()}}
    raise TypeError(f"no rule to write down a {type(value).__name__}")


class _Reader:
    def __init__(self, arrays: dict[str, np.ndarray], kinds: dict[str, type]):
        self.kinds = kinds
        self.rules: dict[str, Callable[[Any], Any]] = {
            "float": float.fromhex,
            "array": arrays.__getitem__,
            "tuple": lambda entries: tuple(map(self.read, entries)),
            "dict": self._pairs,
            "counter": lambda pairs: Counter(self._pairs(pairs)),
        }

    def read(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        [(kind, content)] = value.items()
        return self.rules[kind](content) if kind in self.rules else self._object(kind, content)

    def _pairs(self, pairs: list) -> dict:
        return {self.read(key): self.read(value) for key, value in pairs}

    def _object(self, kind: str, content: dict) -> Any:
        if kind not in self.kinds:
            raise ValueError(f"it holds a {kind}, expected {' or '.join(self.kinds)}")
        expected = {field.name for field in fields(self.kinds[kind])}
        for name in sorted(expected ^ set(content)):
            what = "has no" if name in expected else "has an unknown"
            raise ValueError(f"its {kind} {what} field {name!r}")
        return self.kinds[kind](**{name: self.read(value) for name, value in content.items()})
