"""Everything that a pasted text says: `parse_text` reads any text, whatever it holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from diag.errors import TextTooLarge
from diag.iommu import GroupVerdict, IommuGroup, Isolation, Member, bridge_by_class
from diag.pci import PciClass
from diag.text.cmdline import CommandLines, parse_command_lines
from diag.text.dmesg import Log, parse_log
from diag.text.groups import parse_groups
from diag.text.kinds import Part
from diag.text.lines import decode, parse_lines
from diag.text.lspci import parse_lspci
from diag.text.machine import parse_machine
from diag.text.tree import parse_tree
from romkit.lazy import cache_field, lazy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from diag.pci import PciAddress
    from diag.text.device import TextDevice


#: More functions than a machine has, and more than a group holds: each is compared with each.
MAX_FUNCTIONS = 8192
MAX_MEMBERS = 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says, all its parts together.

    Attributes:
        parts: the kinds of text in it, in the order in which they begin.
        devices: each function once, in the order of the text.
        records: those of `devices` that stand in a listing for programs (-vmm, -mm).
        groups: the IOMMU groups that a listing shows, by number.
        log_groups: those that the kernel announced in a log.
        device_groups: those that lspci printed beside single devices; others may be in them.
        hinted: functions that a person's comment calls a GPU; no program says so.
        parents: a function and the bridge above it, where a tree was drawn.
        addresses: every function that a listing names, in the order of the text.
        log: the log's problems; None where no log is in the text.
        command_lines: None where none is in the text.
    """

    parts: tuple[Part, ...]
    devices: tuple[TextDevice, ...]
    records: tuple[TextDevice, ...]
    groups: tuple[IommuGroup, ...]
    log_groups: tuple[IommuGroup, ...]
    device_groups: tuple[IommuGroup, ...]
    hinted: tuple[tuple[PciAddress, PciClass], ...]
    parents: tuple[tuple[PciAddress, PciAddress], ...]
    addresses: tuple[PciAddress, ...]
    log: Log | None
    command_lines: CommandLines | None
    _cache: dict[str, Any] = cache_field()

    def __repr__(self) -> str:
        return f"<Reading {self.format or 'nothing known'}: {len(self.addresses)} functions>"

    @property
    def format(self) -> str | None:
        """What most of the text is; None where nothing in it is known."""
        best = max(self.parts, key=lambda part: part.lines, default=None)
        return None if best is None else best.format

    @property
    def lists_devices(self) -> bool:
        """Whether the text has a listing of devices at all: only then is an absent GPU a fact."""
        return any(part.format.startswith(("lspci", "iommu")) for part in self.parts)

    @lazy
    def _devices(self) -> dict[PciAddress, TextDevice]:
        return {device.address: device for device in self.devices}

    @lazy
    def _groups(self) -> dict[PciAddress, IommuGroup]:
        every = (*self.device_groups, *self.log_groups, *self.groups)
        return {address: group for group in every for address in group.addresses}

    @lazy
    def _beside(self) -> dict[int, IommuGroup]:
        return {group.number: group for group in self.device_groups}

    def device(self, address: PciAddress) -> TextDevice | None:
        """What the text says of a function beside its place; None: nothing."""
        return self._devices.get(address)

    @lazy
    def gpus(self) -> tuple[PciAddress, ...]:
        """The functions of a display class, by address."""
        found = {device.address for device in self.devices if device.display_class}
        return tuple(sorted(found | {address for address, _ in self.hinted}))

    @property
    def dead(self) -> tuple[PciAddress, ...]:
        """The functions that did not answer."""
        return tuple(device.address for device in self.devices if device.dead)

    def group_of(self, address: PciAddress) -> IommuGroup | None:
        """The group of a function, from a listing, else a log, else the device's own line."""
        return self._groups.get(address)

    def verdict(self, address: PciAddress) -> GroupVerdict | None:
        """What its group means for a function; None where the text shows none.

        What lspci prints beside single devices proves a stranger, but never that there is none.
        """
        group = self.group_of(address)
        if group is None:
            return None
        verdict = group.verdict(address)
        if verdict.isolation is Isolation.ISOLATED and self._beside.get(group.number) == group:
            return replace(verdict, isolation=Isolation.UNKNOWN)
        return verdict

    def functions_elsewhere(self, address: PciAddress) -> tuple[PciAddress, ...]:
        """Functions of the same device that are in other groups.

        A fact and not a fault: virtual functions of SR-IOV are meant to be apart.
        """
        own = self.group_of(address)
        functions = (replace(address, function=number) for number in range(8))
        groups = ((function, self.group_of(function)) for function in functions)
        return tuple(f for f, group in groups if own and group and group.number != own.number)


def read_bytes(data: bytes) -> Reading:
    """`parse_text` for the bytes of a file.

    Raises:
        NotHostText: the bytes are no text.
        TextTooLarge: there are more of them than anybody pastes.
    """
    return parse_text(decode(data))


def parse_text(text: str) -> Reading:
    """What a text says; a text in which nothing is known gives a reading without parts.

    Raises:
        TextTooLarge: it has more lines than anybody pastes, or functions than machines have.
    """
    lines = parse_lines(text)
    log = parse_log(lines)
    # Only the kernel's own lines are taken out: a listing may stand between them.
    left = [line for line in lines if line.number not in log.lines]
    tree = parse_tree(left)
    left = [line for line in left if line.number not in tree.lines]
    machine = parse_machine(left)
    left = [line for line in left if line.number not in machine.lines]
    groups = parse_groups(left)
    listing = parse_lspci(groups.rest)
    own = listing.lines - groups.lines
    listed = listing.lines | groups.lines
    left = [line for line in left if line.number not in listed]
    command_lines = parse_command_lines(left, log.command_lines)

    devices = _merged(listing.devices, machine.devices, tree.devices)
    in_log = {number for number, _ in log.command_lines}
    written = command_lines.lines - in_log
    parts = [
        Part.of(name, numbers)
        for name, numbers in (
            ("dmesg", log.lines),
            ("lspci-tv", tree.lines),
            (machine.format, machine.lines),
            (groups.format, groups.lines),
            (listing.format, own if _apart(listing.devices, own) else frozenset()),
            ("cmdline", frozenset(written)),
        )
        if numbers
    ]
    members = groups.members
    recorded = {device.address for device in machine.devices}
    addresses = dict.fromkeys([*(d.address for d in devices), *(place for _, place in members)])
    for count in (len(addresses), len(log.members)):
        if count > MAX_FUNCTIONS:
            raise TextTooLarge(f"{count} functions: no machine has more than {MAX_FUNCTIONS}")
    return Reading(
        tuple(sorted(parts, key=lambda part: part.first_line)),
        devices,
        tuple(device for device in devices if device.address in recorded),
        _grouped(members, devices),
        _grouped(log.members, devices),
        _grouped(_beside(devices), devices),
        _hinted(groups.hints),
        tree.parents,
        tuple(addresses),
        log if log.lines else None,
        command_lines if command_lines.lines else None,
    )


def _apart(devices: Iterable[TextDevice], own: frozenset[int]) -> bool:
    """Whether a listing stands beside the groups, and is not only their devices' own lines."""
    return any(device.line in own for device in devices)


def _merged(*listings: Iterable[TextDevice]) -> tuple[TextDevice, ...]:
    """Each function once; the first listing that says something counts."""
    found: dict[PciAddress, TextDevice] = {}
    for devices in listings:
        for device in devices:
            before = found.get(device.address)
            found[device.address] = device if before is None else before.joined(device)
    return tuple(sorted(found.values(), key=lambda device: device.line))


def _grouped(
    members: Iterable[tuple[int, PciAddress]], devices: Iterable[TextDevice]
) -> tuple[IommuGroup, ...]:
    bridges = {d.address: bridge_by_class(_class_of(d), d.class_name) for d in devices}
    groups: dict[int, list[Member]] = {}
    for number, address in members:
        groups.setdefault(number, []).append(Member(address, bridges.get(address)))
    largest = max(groups.values(), key=len, default=[])
    if len(largest) > MAX_MEMBERS:
        raise TextTooLarge(f"a group of {len(largest)} functions: none has more than {MAX_MEMBERS}")
    return tuple(IommuGroup.of(number, groups[number]) for number in sorted(groups))


def _beside(devices: Iterable[TextDevice]) -> Iterator[tuple[int, PciAddress]]:
    for device in devices:
        if device.iommu_group is not None:
            yield device.iommu_group, device.address


def _class_of(device: TextDevice) -> PciClass | None:
    if device.class_code is not None or device.config is None or not device.config.answers:
        return device.class_code
    return device.config.class_code


def _hinted(
    hints: Iterable[tuple[PciAddress, str]],
) -> tuple[tuple[PciAddress, PciClass], ...]:
    found = []
    for address, words in hints:
        kind = PciClass.named(words.partition(":")[0].strip())
        if kind is not None and kind.is_display:
            found.append((address, kind))
    return tuple(found)
