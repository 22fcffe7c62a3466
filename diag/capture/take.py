"""Taking a capture of a host."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property

from diag.capture.allowed import ALLOWED, COMMANDS, HELD, NAMED, Allowed, Command, Take
from diag.capture.capture import Capture
from diag.capture.filters import alias_filter, content_filter, log_filter, names_filter
from diag.capture.redact import Redactor, counted, is_secret_parameter
from diag.capture.walk import NOT_TAKEN, Walk, inside
from diag.device import DEVICES, device_path, sleeps
from diag.errors import Unreadable
from diag.host import Host, Transcript
from diag.logs import DMESG, JOURNAL
from diag.pci import PciAddress
from romkit.version import __version__

#: Where names and numbers are found that must not be in a capture; none of these files is taken.
_DMI = "/sys/class/dmi/id"
_SERIAL_FILES = ("product_serial", "board_serial", "chassis_serial", "product_uuid",
                 "board_asset_tag", "chassis_asset_tag")  # fmt: skip
_HOST_FILES = ("/proc/sys/kernel/hostname", "/etc/hostname", "/proc/sys/kernel/domainname")
#: Numbers that are not people's (login.defs, UID_MIN; systemd, UIDS-GIDS.md: behind homed's users
#: come dynamic ones; Debian's policy: up to 64999 for programs; 65534 is nobody).
_PROGRAMS = (range(1000), range(60514, 65536))

#: The machine's name in a line of the journal.
_NODE = re.compile(r"^\[[^\]\n]*\] (\S+) ", re.MULTILINE)

#: Called with what is done and what there is to do.
Progress = Callable[[int, int], None]


def read_capture(
    host: Host, *, wake: bool = False, taken: str = "", progress: Progress | None = None
) -> Capture:
    """Take a capture.

    Args:
        host: the machine.
        wake: read sleeping devices too, which wakes them.
        taken: the time to note; now, if it is empty.
        progress: told how far it is.

    Raises:
        Unreadable: the devices cannot be listed, so that it is not known which of them sleep.
    """
    return _Taker(host, wake, progress or (lambda done, total: None)).capture(taken)


class _Taker:
    def __init__(self, host: Host, wake: bool, progress: Progress) -> None:
        self.host = host
        self.wake = wake
        self.progress = progress
        self.walk = Walk(host.tree)
        self.redactor = redactor_of(host)
        self.kernel = _said(host, "/proc/sys/kernel/osrelease")
        self.left_out: dict[str, str] = {}
        self.asleep: set[str] = set()
        self.takes: dict[str, Take] = {}

    def capture(self, taken: str) -> Capture:
        steps = len(ALLOWED) + len(COMMANDS)
        for number, allowed in enumerate(ALLOWED):
            self.progress(number, steps)
            self._take(allowed)
        self._processes()
        transcripts: list[Transcript] = []
        for number, command in enumerate(COMMANDS):
            self.progress(len(ALLOWED) + number, steps)
            if not any(said.argv == command.unless and not said.status for said in transcripts):
                transcripts += self._run(command)
        self.progress(steps, steps)
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        walk = self.walk
        files = {path: self._content(path, data) for path, data in sorted(walk.files.items())}
        hidden = {path: NOT_TAKEN for path, data in files.items() if data is None}
        capture = Capture(
            files={path: data for path, data in files.items() if data is not None},
            links=walk.links,
            folders=frozenset(walk.folders),
            refused={**walk.refused, **hidden},
            closed=walk.closed,
            transcripts=tuple(transcripts),
            kernel=self.kernel,
            root=_is_root(self.host),
            wake=self.wake,
            asleep=tuple(sorted(self.asleep)),
            taken=taken or now,
            tool=__version__,
        )
        capture = self._renamed(capture)
        return replace(capture, redacted=counted(self.redactor.counts), left_out=self.left_out)

    # Files.

    def _take(self, allowed: Allowed) -> None:
        for path, place in self.walk.matches(allowed.pattern.format(release=_exact(self.kernel))):
            if allowed.take is Take.PRESENCE or (allowed.wakes and self._rests(path)):
                self.walk.note(place)
                continue
            self.walk.take(place)
            self.takes[place] = allowed.take

    def _rests(self, path: str) -> bool:
        """Whether something sleeps that reading `path` would wake."""
        if self.wake:
            return False
        address = next(iter(_parsed(path.split("/"))), None)
        if address is None:
            self.left_out[path] = "reading it wakes the graphics card's port: needs --wake"
            return True
        if self._sleeps(address):
            self.asleep.add(str(address))
            return True
        return False

    def _processes(self) -> None:
        """Who holds a GPU: of other processes only that they are there."""
        for path, place in list(self.walk.matches("/proc/[0-9]*/fd")):
            self.walk.held(place, HELD)
            process = path.removesuffix("/fd")
            holds = any(link.startswith(f"{place}/") for link in self.walk.links)
            name = self.walk.place(f"{process}/comm")
            if name is not None and (holds or _said(self.host, name) in NAMED):
                self.walk.take(name)
                self.takes[name] = Take.TEXT
            elif name is not None:
                self.walk.note(name)

    def _sleeps(self, address: PciAddress) -> bool:
        return any(sleeps(self.host, step) for step in device_path(self.host, address))

    @cached_property
    def _ids(self) -> frozenset[tuple[str, str]]:
        """Vendor and device of what there is, and of the boards."""
        found = set()
        for address in self.host.devices("pci") or ():
            folder = f"{DEVICES}/{address}"
            for prefix in ("", "subsystem_"):
                pair = (
                    _said(self.host, f"{folder}/{prefix}{name}") for name in ("vendor", "device")
                )
                vendor, device = (text.removeprefix("0x") for text in pair)
                found.add((vendor, device))
        return frozenset(found)

    def _content(self, path: str, data: bytes) -> bytes | None:
        """A file's content as the capture has it; None where it must not have it."""
        if data.strip() and is_secret_parameter(path):
            self.left_out[path] = "its name says that it holds a serial number or a password"
            return None
        data = content_filter(path, data)
        if path.endswith("/pci.ids"):
            data = names_filter(data, self._ids)
        if path.endswith("/modules.alias"):
            data = alias_filter(data, frozenset(vendor for vendor, _ in self._ids))
        take = self.takes[path]
        if take is Take.BYTES:
            if not self.redactor.holds_secret(data):
                return data
            self.left_out[path] = "it holds a serial number or a network address"
            return None
        # Text of any encoding comes through unharmed.
        text = data.decode("utf-8", "surrogateescape")
        redact = self.redactor.text if take is Take.TEXT else self.redactor.plain
        return redact(text).encode("utf-8", "surrogateescape")

    def _renamed(self, capture: Capture) -> Capture:
        """The capture with the names of files redacted too."""

        def name(path: str) -> str:
            return self.redactor.name(path)

        return replace(
            capture,
            files={name(path): data for path, data in sorted(capture.files.items())},
            links={
                name(path): self.redactor.name(path, inside(path, target))
                for path, target in sorted(capture.links.items())
            },
            folders=frozenset(map(name, capture.folders)),
            refused={name(path): number for path, number in sorted(capture.refused.items())},
            closed={name(path): number for path, number in sorted(capture.closed.items())},
        )

    # Programs.

    def _run(self, command: Command) -> Iterable[Transcript]:
        words = " ".join(command.argv)
        if command.wakes and not self.wake and self.host.live and self._somebody_sleeps():
            self.left_out[words] = "it reads every device, and one of them sleeps: needs --wake"
            return
        try:
            said = self.host.run(*command.argv)
        except Unreadable as error:
            self.left_out[words] = error.why
            return
        if said is not None:
            yield replace(
                said, out=self._redacted(said, said.out), err=self._redacted(said, said.err)
            )

    def _somebody_sleeps(self) -> bool:
        addresses = self.host.devices("pci") or ()
        return any(self._sleeps(address) for address in _parsed(addresses))

    def _redacted(self, said: Transcript, text: str) -> str:
        if said.argv in (DMESG, JOURNAL):
            text = log_filter(text)
        if said.argv == JOURNAL:
            for name in sorted(set(_NODE.findall(text))):
                text = text.replace(f"] {name} ", f"] {self.redactor.node(name)} ")
        if said.argv == ("uname", "-a"):
            words = text.split(" ")
            text = " ".join([*words[:1], *map(self.redactor.node, words[1:2]), *words[2:]])
        return self.redactor.text(text)


def redactor_of(host: Host) -> Redactor:
    """A redactor that knows this machine's names and numbers, as far as they can be read."""
    serials = [_said(host, f"{_DMI}/{name}") for name in _SERIAL_FILES]
    serials.append(_said(host, "/etc/machine-id"))
    cards = _devices(host, "net")
    macs = [_said(host, f"/sys/class/net/{card}/address") for card in cards]
    hosts = [_said(host, path) for path in _HOST_FILES]
    hosts += [name.partition(".")[0] for name in hosts]
    return Redactor(hosts=hosts, users=_people(host), serials=serials, macs=macs)


def _people(host: Host) -> list[str]:
    """Names of people: those in /etc/passwd, and members of groups whom only a directory knows."""
    users: list[str] = []
    # Most programs' accounts have a group of their own; a capture has no other word on them.
    groups = [line.split(":") for line in _said(host, "/etc/group").splitlines()]
    programs = {fields[0] for fields in groups if len(fields) > 2 and _of_program(fields[2])}
    for line in _said(host, "/etc/passwd").splitlines():
        fields = line.split(":")
        if len(fields) < 6 or not fields[2].isdecimal():
            continue
        if _of_program(fields[2]):
            programs.add(fields[0])
            continue
        users += [fields[0], fields[5].rpartition("/")[2]]
        users += re.findall(r"\w+", fields[4])
    members = (name for fields in groups for name in ",".join(fields[3:4]).split(","))
    return [*users, *(name for name in members if name not in programs)]


def _of_program(number: str) -> bool:
    """Whether this is the number of a program's account or group."""
    return number.isdecimal() and any(int(number[:10]) in numbers for numbers in _PROGRAMS)


def _said(host: Host, path: str) -> str:
    try:
        return host.text(path) or ""
    except Unreadable:
        return ""


def _devices(host: Host, subsystem: str) -> tuple[str, ...]:
    try:
        return host.devices(subsystem) or ()
    except Unreadable:
        return ()


def _parsed(names: Iterable[str]) -> Iterable[PciAddress]:
    for name in names:
        try:
            yield PciAddress.parse(name)
        except ValueError:
            continue


def _exact(release: str) -> str:
    """A release as a pattern that fits nothing else; nothing fits where it is not known."""
    return re.sub(r"[*?\[/]", "_", release) or "unknown"


def _is_root(host: Host) -> bool:
    """Whether what only root may read was read: /proc/iomem has addresses for root only."""
    return any(map(bool, re.findall(r"[1-9a-f]", _said(host, "/proc/iomem").partition(" ")[0])))
