"""Whether the user whom QEMU runs as can open what the guest is made of.

Root can open everything, so this is asked as that user: before the card is taken from the host, and
not by QEMU's own error after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from passthrough.errors import PassthroughError
from passthrough.programs import may_open
from passthrough.vm.looks import guest_files
from romkit.finding import Finding, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Container

    from passthrough.programs import User
    from passthrough.vm.guest import Guest


def reach_findings(
    guest: Guest, user: User, check: str, *, made: Container[str] = ()
) -> Iterator[Finding]:
    """What of a guest's files is not there, or not for its user.

    Args:
        guest: the guest.
        user: who QEMU is run as.
        check: what the findings are called.
        made: paths of files that will be there.
    """
    for path, written, key in guest_files(guest):
        if path in made:
            continue
        try:
            may = may_open(user, path, write=written)
        except PassthroughError as error:
            yield Finding(check, Verdict.UNKNOWN, Severity.BLOCKER, path,
                          f"whether {user.name} may open {path} is not known: {error.message}", (),
                          error.hint, "")  # fmt: skip
            continue
        if not may and _missing(path):
            more = "; passthrough install makes a disk" if key == "disk" else ""
            yield Finding(check, Verdict.FAIL, Severity.BLOCKER, path, f"{path} is not there", (),
                          f"check `{key}`{more}", "")  # fmt: skip
        elif not may:
            what = "written to" if written else "read"
            rights = "rw" if written else "r"
            yield Finding(check, Verdict.FAIL, Severity.BLOCKER, path,
                          f"{path} cannot be {what} by {user.name}", (),
                          f"check `{key}`, or setfacl -m u:{user.name}:{rights} {quote(path)}; "
                          f"{user.name} must be able to enter the folders above it, too",
                          "")  # fmt: skip


def _missing(path: str) -> bool:
    """Whether it is certain that there is nothing."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
