"""What a metric of the user's own computes, as far as that can be known.

It is part of what a job is: a checkpoint of another metric is not taken up. A metric is any
callable, so its source is not all: what it closes over, its defaults, what a partial or an
instance holds, the globals that it names and the attributes of modules that it reads count as well.
"""

import copyreg
import dis
import hashlib
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import (
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np

from kmeans_tf.metrics import Metric, metric_module
from kmeans_tf.runtime import tf
from pipeline.console import say

_PLAIN = {type(None), type(...), bool, int, float, complex, str, bytes}
_PARTS: dict[type, Callable[[Any], list]] = {
    tuple: list,
    list: list,
    set: list,
    frozenset: list,
    dict: lambda value: list(value.items()),
    partial: lambda value: [value.func, value.args, value.keywords, vars(value)],
    MethodType: lambda value: [value.__func__, value.__self__],
    property: lambda value: [value.fget, value.fset, value.fdel],
    cached_property: lambda value: [value.func],
    staticmethod: lambda value: [value.__func__],
    classmethod: lambda value: [value.__func__],
    MemberDescriptorType: lambda value: [value.__name__],  # a slot
    GetSetDescriptorType: lambda value: [value.__name__],
}
_CACHES = {"_abc_impl"}  # members of a class that say nothing of it
_LOADS = {"LOAD_GLOBAL", "LOAD_NAME"}
_STANDARD_LIBRARY = Path(os.__file__).parent
_INSTALLED = {"site-packages", "dist-packages"}


def metric_identity(metric: Metric) -> str:
    """A digest of what a metric `module:function` computes, the same in every process.

    It covers the source of the metric's module and of the user's other modules that it gets to,
    and the values that it holds. Where one of these cannot be known, a line says so, and the
    digest is like no other.
    """
    home = metric_module(metric.name)
    describe = _Description(home.__name__.partition(".")[0])
    try:
        parts = [metric.gradient_bound, describe.module(home), describe.value(metric.cost)]
    except (_UnknownError, RecursionError) as error:
        say(f"metric {metric.name} cannot be identified: {error}: the job starts anew")
        return uuid.uuid4().hex
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class _UnknownError(Exception):
    """There is something whose content cannot be known."""


@dataclass
class _Description:
    """A walk through what a metric holds; every description is JSON.

    Attributes:
        package: the top-level package of the metric's module, read even where it is installed.
        told: the functions, classes and modules that were described, which are then only named.
        around: the values that the present one is part of.
    """

    package: str
    told: list[object] = field(default_factory=list)
    around: list[object] = field(default_factory=list)

    def value(self, value: object) -> Any:
        """Describes anything.

        Raises:
            _UnknownError: its content cannot be known.
        """
        if type(value) in _PLAIN:
            return repr(value)
        if type(value) is np.ndarray or isinstance(value, np.generic) or tf.is_tensor(value):
            return _describe_array(value)
        if isinstance(value, FunctionType | type | ModuleType):
            return self._code(value)
        if _holds(self.around, value):
            return ["itself"]
        self.around.append(value)
        try:
            return [_name(type(value)), *self._parts(value)]
        finally:
            self.around.pop()

    def module(self, module: ModuleType) -> list:
        """Its name, and its source if it is the user's.

        Raises:
            _UnknownError: it is the user's, and its source is not there.
        """
        name = module.__name__
        if _holds(self.told, module) or not self._is_users(module):
            return [name]
        self.told.append(module)
        source = _source(module)
        if source is None:
            raise _UnknownError(f"the source of module {name} is not there")
        return [name, source]

    def _code(self, value: FunctionType | type | ModuleType) -> list:
        if isinstance(value, ModuleType):
            return self.module(value)
        if _holds(self.told, value):
            return [_name(value)]
        self.told.append(value)
        home = sys.modules.get(value.__module__)
        if home is None:
            raise _UnknownError(f"{value.__qualname__} is of no module")
        is_users = self._is_users(home)
        if not is_users and _is_in(home, value):  # a library's own: its name says it all
            return [_name(value)]
        inside = self._function if isinstance(value, FunctionType) else self._class
        return [_name(value), self.module(home), *inside(value, is_users)]

    def _function(self, function: Any, is_users: bool) -> list:
        cells = [self._cell(cell) for cell in function.__closure__ or ()]
        defaults = [self.value(function.__defaults__), self.value(function.__kwdefaults__)]
        around = [self._named(vars(function)), self._read(function)] if is_users else []
        return [function.__code__.co_firstlineno, cells, defaults, *around]

    def _read(self, function: FunctionType) -> dict[str, Any]:
        """The globals that a function reads, and what it reads of modules."""
        names, loaded = set[str](), set[str]()
        for code in _codes(function.__code__):
            names.update(code.co_names)
            loaded.update(i.argval for i in dis.get_instructions(code) if i.opname in _LOADS)
        used = {name: value for name, value in function.__globals__.items() if name in loaded}
        inside = {name: sys.modules[name] for name in names - loaded if name in sys.modules}
        modules = inside | {n: value for n, value in used.items() if isinstance(value, ModuleType)}
        attributes = {name: self._attributes(value, names) for name, value in modules.items()}
        return {**self._named(used), "attributes": {n: a for n, a in attributes.items() if a}}

    def _attributes(self, module: ModuleType, names: set[str]) -> dict[str, Any]:
        """Those of a user's module that have one of the names; of modules among them, theirs."""
        if _holds(self.around, module) or not self._is_users(module):
            return {}
        self.around.append(module)
        try:
            used = {name: value for name, value in vars(module).items() if name in names}
            inner = {n: v for n, v in used.items() if isinstance(v, ModuleType)}
            described = {n: self._attributes(v, names) for n, v in inner.items()}
            return {**self._named(used), "attributes": {n: a for n, a in described.items() if a}}
        finally:
            self.around.pop()

    def _cell(self, cell: CellType) -> Any:
        try:
            return self.value(cell.cell_contents)
        except ValueError:
            return "empty"

    def _class(self, kind: Any, is_users: bool) -> list:
        if not is_users:
            return []
        members = {
            name: member
            for name, member in vars(kind).items()
            if isinstance(member, FunctionType) or not (name.startswith("__") or name in _CACHES)
        }
        return [[self.value(base) for base in kind.__bases__], self._named(members)]

    def _parts(self, value: Any) -> list:
        parts = [self.value(part) for part in _parts_of(value)]
        return sorted(parts, key=json.dumps) if isinstance(value, set | frozenset) else parts

    def _named(self, values: Mapping[str, object]) -> dict[str, Any]:
        """The values by name; what cannot be known is told by it."""
        described = {}
        for name in sorted(values):
            try:
                described[name] = self.value(values[name])
            except _UnknownError as error:
                raise _UnknownError(f"{name}: {error}") from error
        return described

    def _is_users(self, module: ModuleType) -> bool:
        if module.__name__.partition(".")[0] == self.package:
            return True
        file = getattr(module, "__file__", None)
        if file is None or _INSTALLED & set(Path(file).parts):
            return False
        return not Path(file).is_relative_to(_STANDARD_LIBRARY)


def _holds(values: list[object], value: object) -> bool:
    return any(value is other for other in values)


def _name(code: Any) -> str:
    return f"{code.__module__}.{code.__qualname__}"


def _is_in(module: ModuleType, code: Any) -> bool:
    return getattr(module, code.__qualname__, None) is code


def _source(module: ModuleType) -> str | None:
    """As its loader reads it now: `inspect` has none for an empty module."""
    get_source = getattr(getattr(module, "__loader__", None), "get_source", None)
    try:
        return get_source(module.__name__) if get_source else None
    except (ImportError, OSError):
        return None


def _describe_array(value: Any) -> list:
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever TensorFlow says of a tensor without a value
        raise _UnknownError(f"a {type(value).__name__} has no value") from error
    if array.dtype.hasobject:
        raise _UnknownError(f"an array of {array.dtype} holds any objects")
    return [str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()]


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of the functions within."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _parts_of(value: Any) -> list:
    """What a value is made of."""
    if type(value) in _PARTS:
        return _PARTS[type(value)](value)
    if isinstance(value, tf.types.experimental.PolymorphicFunction):  # a tf.function
        return [value.python_function]
    return _pickled_parts(value)


def _pickled_parts(value: Any) -> list:
    """What a value is made of by what pickle would write: its class and its state, as a rule."""
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        pieces = reduce(value) if reduce else value.__reduce_ex__(4)
    except Exception as error:  # it is the value's own code
        raise _UnknownError(f"what a {_name(type(value))} holds cannot be told") from error
    if isinstance(pieces, str):  # it is found by its name
        return [getattr(value, "__module__", None), pieces, dict(getattr(value, "__dict__", {}))]
    make, arguments, state, items, pairs = (*pieces, None, None, None)[:5]
    return [make, arguments, state, list(items or ()), list(pairs or ())]
