"""A cached property for frozen, slotted dataclasses.

`functools.cached_property` needs an instance dictionary, which slotted classes do not have.
A class that uses `lazy` declares the field ``_cache`` (see `cache_field`) instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


def cache_field() -> Any:
    """The field that holds computed values: no part of equality, hash, repr or ``__init__``."""
    return field(default_factory=dict, init=False, repr=False, compare=False)


class lazy(Generic[T]):
    """Compute a value at the first access and keep it in the instance's ``_cache``."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> lazy[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: Any, owner: type) -> lazy[T] | T:
        if instance is None:
            return self
        cache: dict[str, Any] = instance._cache
        try:
            value: T = cache[self._name]
        except KeyError:
            value = cache[self._name] = self._compute(instance)
        return value
