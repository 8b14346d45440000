"""Sequences whose items are made when they are asked for, of what takes less memory."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

_Item = TypeVar("_Item")


class LazySequence(Sequence[_Item]):
    """A subclass has a length, and makes the item at a place from 0."""

    @abstractmethod
    def item(self, place: int) -> _Item:
        """The item at a place."""

    @overload
    def __getitem__(self, index: int) -> _Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[_Item]: ...

    def __getitem__(self, index: int | slice) -> _Item | list[_Item]:
        if isinstance(index, slice):
            return [self.item(place) for place in range(*index.indices(len(self)))]
        return self.item(range(len(self))[index])
