"""Where profiles are: anywhere by a path, or in one folder by the VM's name.

The folder is ``~/.config/dgpukit`` of the user who has called, also behind sudo, which does not
hand XDG_CONFIG_HOME on.
"""

from __future__ import annotations

import os
from pathlib import Path

from passthrough.errors import PassthroughError
from passthrough.programs import User
from passthrough.vm.kinds import NAME, Wrong
from passthrough.vm.parse import MAX_TEXT, parse_profile
from passthrough.vm.profile import Profile

_FOLDER = Path(".config", "dgpukit")
_END = ".toml"


def profile_folder(user: User) -> Path:
    """The folder of a user's profiles; it need not be there."""
    home = os.environ.get("HOME") if user.uid == os.getuid() else None
    return Path(home or user.home) / _FOLDER


def profile_names(user: User) -> tuple[str, ...]:
    """The names of the profiles in a user's folder; none where it cannot be listed."""
    try:
        entries = sorted(profile_folder(user).iterdir())
    except OSError:
        return ()
    return tuple(entry.name.removesuffix(_END) for entry in entries if entry.suffix == _END)


def is_name(text: str) -> bool:
    """Whether it names a VM, and no file."""
    try:
        NAME.read(text)
    except Wrong:
        return False
    return not text.endswith(_END)


def named_profile(name: str, user: User) -> Path:
    """Where the profile of a name is, or would be."""
    return profile_folder(user) / f"{name}{_END}"


def is_there(path: Path) -> bool:
    """Whether a file is known to be there: not where its folder cannot be entered."""
    try:
        return path.is_file()
    except OSError:
        return False


def find_profile(text: str, user: User) -> Path:
    """The file that a user means by a name or a path.

    A name is that of a profile in the user's folder; where there is none, a file that is called
    just so is taken.
    """
    if not is_name(text):
        return Path(text)
    place = named_profile(text, user)
    return Path(text) if not is_there(place) and is_there(Path(text)) else place


def read_profile(text: str, user: User) -> Profile:
    """A profile by its name or its file.

    Raises:
        PassthroughError: there is none, or it cannot be read.
        BadProfile: it is wrong.
    """
    if not text:
        raise PassthroughError("no profile is named", hint=_known(text, user))
    path = find_profile(text, user)
    try:
        with path.open("rb") as stream:
            data = stream.read(4 * MAX_TEXT + 1)
        read = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PassthroughError(f"{path}: no UTF-8 text: byte {error.start:#x}") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise PassthroughError(f"{path}: {why}", hint=_known(text, user)) from None
    return parse_profile(read, file=str(path), folder=str(path.absolute().parent))


def _known(text: str, user: User) -> str:
    names = profile_names(user)
    if not is_name(text):
        return "a VM's name, or the path of its profile (TOML); passthrough vm new NAME makes one"
    if not names:
        return f"passthrough vm new {text}"
    return f"there are {', '.join(names)}; passthrough vm new {text} makes another"
