"""What a method computes with: variables, arguments, and other methods (ACPI 6.5, 20.2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from romkit.acpi.aml.data import Value, value_of
from romkit.acpi.aml.encoding import object_name
from romkit.acpi.aml.operation import Place
from romkit.acpi.errors import AmlError


@dataclass(frozen=True, slots=True)
class Local(Place):
    """A variable of a method, Local0 to Local7 (20.2.6.2)."""

    number: int

    def __post_init__(self) -> None:
        if not 0 <= self.number <= 7:
            raise AmlError(f"Local{self.number}: there are Local0 to Local7", "20.2.6.2")

    def __bytes__(self) -> bytes:
        return bytes([0x60 + self.number])

    def __str__(self) -> str:
        return f"Local{self.number}"


@dataclass(frozen=True, slots=True)
class Arg(Place):
    """An argument of a method, Arg0 to Arg6 (20.2.6.1)."""

    number: int

    def __post_init__(self) -> None:
        if not 0 <= self.number <= 6:
            raise AmlError(f"Arg{self.number}: there are Arg0 to Arg6", "20.2.6.1")

    def __bytes__(self) -> bytes:
        return bytes([0x68 + self.number])

    def __str__(self) -> str:
        return f"Arg{self.number}"


@dataclass(frozen=True, slots=True)
class Debug(Place):
    """The debugger: what is stored here is printed (20.2.6.3)."""

    def __bytes__(self) -> bytes:
        return b"\x5b\x31"

    def __str__(self) -> str:
        return "Debug"


@dataclass(frozen=True, slots=True)
class Call(Place):
    """A call of a method (MethodInvocation, 20.2.5). AML does not say how many arguments follow.

    Attributes:
        path: of the method.
        arguments: at most seven.
    """

    path: str
    arguments: Sequence[Value] = ()

    def __post_init__(self) -> None:
        object_name(self.path)
        if len(self.arguments) > 7:
            raise AmlError(f"{len(self.arguments)} arguments: a method takes 7 at most", "20.2.5")
        self._set(arguments=tuple(value_of(argument) for argument in self.arguments))

    def __bytes__(self) -> bytes:
        return object_name(self.path) + b"".join(bytes(value_of(a)) for a in self.arguments)

    def __str__(self) -> str:
        return f"{self.path} ({', '.join(str(a) for a in self.arguments)})"
