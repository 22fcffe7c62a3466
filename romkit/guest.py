"""What a guest's firmware makes of a ROM that it is given as ``romfile=``.

QEMU maps the file as the ROM BAR, padded with zeros to a power of two. OVMF's rules are those of
edk2 (MdeModulePkg/Bus/Pci/PciBusDxe/PciOptionRomSupport.c and, for the driver itself,
MdePkg/Library/BasePeCoffLib), SeaBIOS's those of src/optionroms.c. Both look at the first byte
of the BAR: whatever stands in front of the ROM hides all of it. Measured with edk2 2022.11 and
SeaBIOS 1.16.2, image by image.

Not followed: edk2 walks a second time, through its copy of what the first walk covered, or of what
the size byte of an x86 image covers if that is longer, and does not look at the alignment of the
PCIR then. A broken chain behind an image that lies so can still start a driver.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from romkit.checksum import ByteSums
from romkit.efi.compression import HEADER_SIZE, Scheme
from romkit.errors import RomError
from romkit.header import BLOCK, CodeType, read_header
from romkit.image import OptionRom
from romkit.rom import EFI_BUDGET, Rom

if TYPE_CHECKING:
    from romkit.efi.driver import EfiDriver

#: What OVMF for x86-64 runs itself.
OVMF_MACHINE = 0x8664

#: What OVMF starts: X64, and byte code, for which it carries an interpreter (measured). It goes by
#: the PE image; the machine type in the EFI image's header is not looked at.
OVMF_MACHINES = (OVMF_MACHINE, 0x0EBC)

#: PE subsystems that edk2's loader takes: application, boot service, runtime and SAL driver.
LOADABLE = range(0x0A, 0x0E)

#: edk2 (GetOpRomInfo) masks the sizing value with fffff800 and takes just that for "no ROM".
OVMF_SMALLEST_BAR = 4096

#: How a walk ends that meets an image marked as the last.
LAST = "last image"

#: Images that firmware is followed through before the walk is given up.
MAX_STEPS = 32


class Outcome(Enum):
    """What the firmware does with one image."""

    STARTS = "starts"
    SKIPS = "skips"
    REFUSES = "refuses"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One image as the firmware meets it.

    Attributes:
        offset: bytes from the start of the file.
        code_type: PCIR code type.
        outcome: what the firmware does with it.
        reason: why, a few words.
    """

    offset: int
    code_type: int
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class GuestView:
    """A firmware's walk over the ROM BAR.

    Attributes:
        firmware: "OVMF" or "SeaBIOS".
        attempts: the images it meets, in order.
        stop: why it goes no further.
    """

    firmware: str
    attempts: tuple[Attempt, ...]
    stop: str

    @property
    def why_nothing(self) -> str:
        """Why it starts nothing: the first refusal, else what it skipped, else where it stops."""
        refused = [a.reason for a in self.attempts if a.outcome is Outcome.REFUSES]
        if refused:
            return refused[0]
        if self.attempts and self.stop == LAST:
            return "; ".join(dict.fromkeys(a.reason for a in self.attempts))
        return self.stop

    @property
    def started(self) -> tuple[Attempt, ...]:
        """The images that it starts."""
        return tuple(a for a in self.attempts if a.outcome is Outcome.STARTS)


def ovmf_view(rom: Rom, start: int = 0) -> GuestView:
    """What OVMF (x86-64) does with this file as a device's ROM.

    Args:
        rom: the file.
        start: as if the bytes before this offset had been cut off.
    """
    data, size = rom.data, _bar_size(len(rom.data) - start)
    if size < OVMF_SMALLEST_BAR:
        why = f"OVMF overlooks a ROM BAR of less than {OVMF_SMALLEST_BAR} bytes: pad the file"
        return GuestView("OVMF", (), why)
    bar = start + size
    budget = EFI_BUDGET
    by_offset = {image.offset: image for image in rom.images}
    attempts: list[Attempt] = []
    at = start
    stop = "the ROM BAR ends"
    while at < bar and len(attempts) < MAX_STEPS:
        if data[at : at + 2] != b"\x55\xaa":
            if at == start:
                return GuestView("OVMF", (), "the file does not start with 55 AA")
            # Behind the first image OVMF looks for the next header in steps of a block.
            following = _next_signature(data, at)
            if following is None:
                stop = f"no 55 AA behind {at:#x}"
                break
            at = following
        pointer = int.from_bytes(data[at + 0x18 : at + 0x1A], "little")
        if pointer == 0 or pointer % 4:
            stop = f"the PCIR pointer at {at:#x} is {pointer:#x}, not a multiple of 4"
            break
        try:
            header = read_header(data, at)
        except RomError as err:
            stop = err.message
            break
        if at + header.pcir.image_length > bar:
            stop = f"the image at {at:#x} is longer than the ROM BAR"
            break
        image = by_offset.get(at)
        if image is None or image.truncated:
            # Firmware looks further than either chain leads, and than the file goes: the BAR goes
            # on with zeros.
            end = at + max(header.pcir.image_length, BLOCK)
            padded = data.ljust(end, b"\0")
            image = OptionRom.of(padded, header, end, ByteSums(padded), budget)
            if image.efi is not None and image.efi.sizes is not None:
                budget = max(budget - image.efi.sizes.original_size, 0)
        attempts.append(_ovmf_attempt(image))
        if header.pcir.last:
            stop = LAST
            break
        if header.pcir.image_length == 0:
            stop = f"the image at {at:#x} has length zero: OVMF would not come back from it"
            break
        at += header.pcir.image_length
    return GuestView("OVMF", tuple(attempts), stop)


def _ovmf_attempt(image: OptionRom) -> Attempt:
    offset, code_type, efi = image.offset, image.code_type, image.efi
    if code_type != CodeType.EFI:
        return Attempt(offset, code_type, Outcome.SKIPS, "not an EFI image")
    if efi is None:
        return Attempt(offset, code_type, Outcome.REFUSES, "no readable EFI header")
    problem = _load_problem(image, efi)
    if problem:
        return Attempt(offset, code_type, Outcome.REFUSES, problem)
    if efi.facts is not None and efi.facts.machine not in OVMF_MACHINES:
        reason = f"a driver for {efi.facts.machine_name}, not for X64"
        return Attempt(offset, code_type, Outcome.SKIPS, reason)
    name = efi.facts.machine_name if efi.facts is not None else efi.machine_name
    return Attempt(offset, code_type, Outcome.STARTS, f"an {name} driver")


def _load_problem(image: OptionRom, efi: EfiDriver) -> str:
    """Why OVMF cannot load the driver, whatever machine it is for; "" where it can."""
    room = efi.initialization_size - efi.image_offset
    if not efi.signature_ok:
        return f"EFI signature {efi.efi_signature:#x} instead of 0xef1"
    if efi.subsystem not in (0x0B, 0x0C):
        return f"subsystem {efi.subsystem:#x} is no driver"
    if efi.compression > 1:
        return f"compression type {efi.compression} is unknown"
    if efi.initialization_size > image.pcir.image_length:
        return "its size field is larger than its PCIR image length"
    if room <= 0:
        return "the driver would start behind the end of the image"
    if efi.sizes is not None and HEADER_SIZE + efi.sizes.compressed_size > room:
        return "the compressed stream is longer than its size field allows"
    if efi.pe is None:
        return efi.undecodable
    if efi.scheme is Scheme.TIANO:
        return "compressed in the Tiano dialect, which option ROM loaders do not decode"
    if efi.facts is None:
        return "its PE headers cannot be read"
    if efi.facts.subsystem not in LOADABLE:
        return f"its PE image has subsystem {efi.facts.subsystem:#x}"
    sections = efi.facts.sections
    if not sections or any(s.offset + s.size > len(efi.pe) for s in sections if s.size):
        return "its PE image is cut off"
    return ""


def seabios_view(
    rom: Rom, vendor_device: tuple[int, int] | None = None, start: int = 0
) -> GuestView:
    """What SeaBIOS does with this file as a VGA device's ROM.

    Args:
        rom: the file.
        vendor_device: the ids in the device's config space; None takes the ROM's own.
        start: as if the bytes before this offset had been cut off.
    """
    data = rom.data
    attempts: list[Attempt] = []
    at = start
    while len(attempts) < MAX_STEPS:
        if data[at : at + 2] != b"\x55\xaa":
            where = "the file does not start with 55 AA" if at == start else f"no 55 AA at {at:#x}"
            return GuestView("SeaBIOS", tuple(attempts), where)
        try:
            pcir = read_header(data, at).pcir
        except RomError as err:
            return GuestView("SeaBIOS", tuple(attempts), err.message)
        ids = (pcir.vendor_id, pcir.device_id)
        wanted = vendor_device or ids
        if pcir.code_type == CodeType.PCAT and ids == wanted:
            size = data[at + 2] * BLOCK
            total = sum(memoryview(data)[at : at + size]) & 0xFF
            if size == 0:
                attempt = Attempt(at, pcir.code_type, Outcome.REFUSES, "its size byte is zero")
            elif total:
                reason = f"its first {size:#x} bytes (the size byte) sum to {total:#04x}, not to 0"
                attempt = Attempt(at, pcir.code_type, Outcome.REFUSES, reason)
            else:
                attempt = Attempt(at, pcir.code_type, Outcome.STARTS, "an x86 image")
            return GuestView("SeaBIOS", (*attempts, attempt), "x86 image found")
        reason = "not an x86 image"
        if pcir.code_type == CodeType.PCAT:
            reason = f"made for {ids[0]:04x}:{ids[1]:04x}, not {wanted[0]:04x}:{wanted[1]:04x}"
        attempts.append(Attempt(at, pcir.code_type, Outcome.SKIPS, reason))
        if pcir.last:
            return GuestView("SeaBIOS", tuple(attempts), LAST)
        if pcir.image_length == 0:
            stuck = f"the image at {at:#x} has length zero: SeaBIOS would not come back from it"
            return GuestView("SeaBIOS", tuple(attempts), stuck)
        at += pcir.image_length
    return GuestView("SeaBIOS", tuple(attempts), "too many images")


def _bar_size(length: int) -> int:
    """QEMU's ROM BAR for a file of `length` bytes: the next power of two."""
    return 1 << max(length - 1, 0).bit_length()


def _next_signature(data: bytes, offset: int) -> int | None:
    firsts = data[offset::BLOCK]
    at = firsts.find(0x55)
    while at >= 0:
        place = offset + at * BLOCK
        if data[place + 1 : place + 2] == b"\xaa":
            return place
        at = firsts.find(0x55, at + 1)
    return None
