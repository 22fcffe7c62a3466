"""What a VM has of its own on the disk is made: by its owner, and readable for whom it concerns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from passthrough.errors import PassthroughError
from passthrough.programs import acting_as, make_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from passthrough.programs import User
    from passthrough.vm.guest import OwnFile

#: The variables and a TPM's memory are the owner's only. The folder can be entered, so that
#: libvirt's QEMU reaches its files by their names, but nobody else sees what is in it.
_PRIVATE = 0o066


def make_own_files(files: Iterable[OwnFile], owner: User, *, folder: str = "") -> None:
    """Make a VM's own files, reading and writing as their owner; a copy that is there stays.

    Args:
        files: what is made.
        owner: whose they are. What this user may not read is not copied either.
        folder: one that has to be there, also where no file is in it.

    Raises:
        PassthroughError: one cannot be read or made.
    """
    if folder:
        with _masked(_PRIVATE):
            make_file(f"{folder}/*", None, owner)  # the folder alone
    for file in files:
        copied = file.data is None
        data = _read(file.copy_of, owner) if file.data is None else file.data
        with _masked(_PRIVATE if copied else 0):
            make_file(file.path, data, owner, anew=file.anew)


def _read(path: str, owner: User) -> bytes:
    """A file's bytes, as this user may read them."""
    try:
        with acting_as((owner.uid, owner.gid) if os.geteuid() == 0 else None):
            return Path(path).read_bytes()
    except OSError as error:
        raise PassthroughError(
            f"{path}: it cannot be read by {owner.name} ({(error.strerror or '').lower()})",
            hint="the guest's user has to be able to read what is copied for the guest",
        ) from None


@contextmanager
def _masked(more: int) -> Iterator[None]:
    """Take rights from what is made, besides those that the caller's umask takes."""
    before = os.umask(0o077)
    os.umask(before | more)
    try:
        yield
    finally:
        os.umask(before)
