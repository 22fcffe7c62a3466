"""Terms that are right by themselves and wrong at the top of a table (ACPI 6.5, 20.2.1)."""

from __future__ import annotations

from collections.abc import Iterable

from romkit.acpi.aml.objects import Method
from romkit.acpi.aml.statements import Break, Continue, Return, While
from romkit.acpi.aml.term import Term, within
from romkit.acpi.aml.variables import Arg, Local
from romkit.acpi.errors import AmlError


def refuse_misplaced(body: Iterable[Term]) -> None:
    """See that nothing stands outside of methods that only a method can have.

    Raises:
        AmlError: a variable, an argument, a Return; a Break or Continue outside a loop.
    """
    terms = tuple(body)
    for term in within(terms, Method):
        if isinstance(term, Local):
            raise AmlError(f"{term} outside of a method, which alone has variables", "20.2.6.2")
        if isinstance(term, Arg):
            raise AmlError(f"{term} outside of a method, which alone has arguments", "20.2.6.1")
        if isinstance(term, Return):
            raise AmlError(f"{term} outside of a method: there is nothing to end", "20.2.5.3")
    for term in within(terms, Method, While):
        if isinstance(term, Break | Continue):
            raise AmlError(f"{term} outside of a loop", "20.2.5.3")
