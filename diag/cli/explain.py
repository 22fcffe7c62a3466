"""The command that explains checks and messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from diag.cli.files import fail
from diag.cli.root import Root, Wake
from diag.cli.vm import VmOption
from diag.errors import DiagError
from romkit.cli.options import Json
from romkit.cli.terminal import print_json, say, style_of

if TYPE_CHECKING:
    from diag.checks import Check
    from diag.text.problems import Problem

#: How people write it.
CODE_43 = re.compile(r"(?:error[ _-]?)?(?:code|error)[ _-]?43")


def explain(
    ctx: typer.Context,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHECK|MESSAGE|code43]",
            help="A check's name, the first part of one, a message that you met, or code43.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    root: Root = None,
    vm: VmOption = None,
    wake: Wake = False,
) -> None:
    """Explain a check, a message of the kernel, QEMU or libvirt, or Code 43.

    Without a name it lists all that it can explain. code43 goes through a checklist on this
    machine, or the one that --root names, and the VM of --vm; it fails (1) where an item blocks.
    Fails (3) on what it does not know.
    """
    text = " ".join(what or ())
    if CODE_43.fullmatch(text.strip(" .").lower()):
        from diag.cli.code43 import explain_code43

        explain_code43(ctx, root, vm, wake=wake, as_json=as_json)
        return
    if root is not None or vm is not None or wake:
        raise typer.BadParameter("--root, --vm and --wake go with code43")
    from diag.checks import CHECKS
    from diag.messages import MESSAGES
    from diag.render.explain import (
        check_record,
        check_text,
        list_text,
        message_record,
        message_text,
    )

    style = style_of(ctx)
    checks, messages = _checks(text), _messages(text)
    if not (checks or messages) and text:
        fail(text[:60], _not_known(text), as_json=as_json)
    if as_json:
        records = [check_record(check) for check in checks or (() if messages else CHECKS)]
        print_json([*records, *map(message_record, messages or (() if checks else MESSAGES))])
    elif not text:
        say(list_text(CHECKS, MESSAGES, style))
    elif len(checks) > 1 and not messages:
        say(list_text(checks, (), style))
    else:
        parts = [check_text(check, style) for check in checks]
        say("\n\n".join([*parts, *(message_text(message, style) for message in messages)]))


def _checks(text: str) -> tuple[Check, ...]:
    """The check of a name, or those of a subject."""
    from diag.checks import CHECKS

    name = text.strip().lower().rstrip(".")
    return tuple(c for c in CHECKS if c.slug == name or c.slug.partition(".")[0] == name)


def _messages(text: str) -> tuple[Problem, ...]:
    """The messages that a text holds, or the one of a name."""
    from diag.messages import MESSAGES, find_messages

    named = tuple(message for message in MESSAGES if message.name == text.strip())
    return named or find_messages(text)


def _not_known(text: str) -> DiagError:
    from difflib import get_close_matches

    from diag.checks import CHECKS

    near = get_close_matches(text.lower(), [check.slug for check in CHECKS], 1)
    hint = f"diag explain {near[0]}" if near else "diag explain, which lists what it knows"
    return DiagError("no check of this name, and no message that is known", hint=hint)
