"""Where a guest's devices stand on its root bus; two in one place are our error, not QEMU's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

from diag.pci import PciAddress
from passthrough.vm.accepted import parse_option
from passthrough.vm.problem import Problem
from passthrough.vm.profile import Profile
from passthrough.vm.toml_lines import Path

#: Slots of pcie.0 that are free: 00 is the host bridge, 1f the chipset (QEMU, hw/i386/pc_q35.c).
_FIRST, _LAST = 0x02, 0x1E


class Places:
    """The slots of bus 00, taken one after the other.

    Devices that libvirt does not know of are put at the top: it places its own from below.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.taken: dict[int, Path] = {}
        self.problems: list[Problem] = []

    def fix(self, place: PciAddress, path: Path) -> None:
        """Take the slot that the profile names."""
        wrong = ""
        if place.bus != 0:
            return
        if place.device in (0, _LAST + 1):
            wrong = f"slot {place.device:02x} is the chipset's"
        elif place.function:
            wrong = "its function 0 would be missing"
        elif place.device in self.taken:
            owner = ".".join(str(part) for part in self.taken[place.device])
            wrong = f"slot {place.device:02x} is taken by {owner}"
        if wrong:
            allowed = f"a free slot from 00:01.0 to 00:{_LAST:02x}.0"
            self.problems.append(self.profile.problem(path, wrong, allowed))
        self.taken.setdefault(place.device, path)

    def keep_free(self, arguments: tuple[str, ...]) -> None:
        """Leave the slots alone that QEMU's own arguments in the profile name."""
        for name, value in pairwise(arguments):
            parts = parse_option(value)
            if name.lstrip("-") == "device" and parts.get("bus") == "pcie.0":
                number = parts.get("addr", "").partition(".")[0]
                with suppress(ValueError):
                    self.taken.setdefault(int(number, 16), ("qemu", "arguments"))

    def take(self, path: Path, *, top: bool = False) -> PciAddress:
        """The next free slot."""
        slots = range(_LAST, _FIRST - 1, -1) if top else range(_FIRST, _LAST + 1)
        for slot in slots:
            if slot not in self.taken:
                self.taken[slot] = path
                return PciAddress(0, 0, slot, 0)
        why = "there is no slot left on the guest's root bus"
        wrong = self.profile.problem(path, why, f"{_LAST - _FIRST + 1} devices in all")
        self.problems.append(wrong)
        return PciAddress(0, 0, _LAST, 0)


def fixed_places(profile: Profile) -> Iterator[tuple[PciAddress, Path]]:
    """The places that a profile names."""
    gpu = profile.gpu
    if gpu.address is not None:
        if gpu.guest_address.bus:
            yield gpu.port, ("gpu", "port")
        else:
            yield gpu.guest_address, ("gpu", "guest_address")
    if profile.integrated.mdev:
        yield profile.integrated.guest_address, ("integrated", "guest_address")
