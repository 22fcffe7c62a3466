"""An EFI driver as an option ROM image.

UEFI specification 2.10, section 14.4.2.1; the layout is that of edk2's EfiRom, with an NPDE where
NVIDIA puts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from romkit.edit.chains import LONGEST_IMAGE
from romkit.efi.compression import HEADER_SIZE, compress
from romkit.efi.driver import EFI_SIGNATURE, EfiDriver
from romkit.efi.pe import machine_name, read_pe, subsystem_name
from romkit.efi.signature import read_signatures
from romkit.errors import EditRefused
from romkit.header import BLOCK, LAST_IMAGE, CodeType
from romkit.layout.efi import EFI_PCI_EXPANSION_ROM_HEADER
from romkit.layout.nvidia import (
    NPDE,
    NPDE_FLAGS,
    NPDE_GOP_VERSION,
    NPDE_LAST,
    NPDE_SUBIMAGE,
)
from romkit.layout.pci import PCI_DATA_STRUCTURE, PCI_DATA_STRUCTURE_REV3

PCIR_AT = 0x1C
_PCIR_SIZE = PCI_DATA_STRUCTURE.sizeof() + PCI_DATA_STRUCTURE_REV3.sizeof()
_NPDE_SIZE = 0x10

#: Boot service driver and runtime driver: what firmware starts from a ROM.
DRIVER_SUBSYSTEMS = (0x0B, 0x0C)

#: Further device ids that one image may list.
MOST_DEVICES = 128


@dataclass(frozen=True, slots=True)
class EfiIds:
    """What the header of an EFI image says of the device it is for.

    Attributes:
        vendor_id: 16 bits.
        device_id: 16 bits.
        class_code: 24 bits.
        device_list: further device ids.
    """

    vendor_id: int
    device_id: int
    class_code: int = 0x030000
    device_list: Sequence[int] = ()

    def __repr__(self) -> str:
        return f"<EfiIds {self.vendor_id:04x}:{self.device_id:04x} class {self.class_code:06x}>"


def wrap_driver(
    pe: bytes, ids: EfiIds, *, compressed: bool = True, npde: bool = False, gop_version: int = 0
) -> bytes:
    """An option ROM image with this driver in it, marked as the last in every chain.

    Args:
        pe: an EFI driver as a file (``.efi``).
        ids: of the device.
        compressed: with the UEFI algorithm, as nearly all vendors do.
        npde: with NVIDIA's extension, which its ROMs need.
        gop_version: for the NPDE.

    Raises:
        EditRefused: no PE image, not a driver, too large, or its signature would not hold.
    """
    facts = read_pe(pe)
    if facts is None:
        raise EditRefused("this is no EFI driver: no PE image starts here", 0)
    if facts.subsystem not in DRIVER_SUBSYSTEMS:
        raise EditRefused(
            f"this is an {subsystem_name(facts.subsystem)} ({machine_name(facts.machine)}): "
            "firmware starts only drivers from a ROM",
            hint="an EFI boot service or runtime driver is needed",
        )
    if not compressed and len(pe) % 8 and any(s.digest_ok for s in read_signatures(pe)):
        raise EditRefused(
            "padding would follow this driver, and its signature would not cover it",
            hint="compress the driver: so its signature holds",
        )
    return _image(
        compress(pe) if compressed else pe,
        ids,
        machine=facts.machine,
        subsystem=facts.subsystem,
        compression=int(compressed),
        npde=npde,
        gop_version=gop_version,
    )


def wrap_again(efi: EfiDriver, ids: EfiIds, *, gop_version: int = 0) -> bytes:
    """The driver of another image, its stream as it is, in an image with an NPDE.

    Raises:
        EditRefused: too large.
    """
    payload = efi.payload
    if efi.sizes is not None:
        payload = payload[: HEADER_SIZE + efi.sizes.compressed_size]
    return _image(
        payload,
        ids,
        machine=efi.machine,
        subsystem=efi.subsystem,
        compression=efi.compression,
        npde=True,
        gop_version=gop_version,
    )


def _image(
    payload: bytes,
    ids: EfiIds,
    *,
    machine: int,
    subsystem: int,
    compression: int,
    npde: bool,
    gop_version: int,
) -> bytes:
    _check_ids(ids)
    devices = b"".join(d.to_bytes(2, "little") for d in ids.device_list)
    list_at = npde_at = 0
    end = PCIR_AT + _PCIR_SIZE
    if npde:
        npde_at = end + 15 & ~15
        end = npde_at + _NPDE_SIZE
    if devices:
        list_at, end = end, end + len(devices) + 2
    payload_at = end + 7 & ~7
    length = payload_at + len(payload) + BLOCK - 1 & ~(BLOCK - 1)
    if compression == 0:
        # Firmware takes all up to the end for the driver; padding there would not be signed.
        payload_at = length - len(payload) & ~7
    if length > LONGEST_IMAGE:
        raise EditRefused(f"an image of {length:#x} bytes is longer than a ROM can say")
    blocks = length // BLOCK
    head = EFI_PCI_EXPANSION_ROM_HEADER.build(
        {
            "signature": b"\x55\xaa",
            "initialization_size": blocks,
            "efi_signature": EFI_SIGNATURE,
            "efi_subsystem": subsystem,
            "efi_machine_type": machine,
            "compression_type": compression,
            "reserved": bytes(8),
            "efi_image_header_offset": payload_at,
            "pcir_offset": PCIR_AT,
        }
    )
    pcir = PCI_DATA_STRUCTURE.build(
        {
            "signature": b"PCIR",
            "vendor_id": ids.vendor_id,
            "device_id": ids.device_id,
            "device_list_pointer": list_at - PCIR_AT if devices else 0,
            "structure_length": _PCIR_SIZE,
            "structure_revision": 3,
            "class_code": ids.class_code,
            "image_length": blocks,
            "vendor_rom_revision": 0,
            "code_type": CodeType.EFI,
            "indicator": LAST_IMAGE,
            "max_runtime_image_length": 0,
        }
    )
    out = bytearray(length)
    out[: len(head)] = head
    out[PCIR_AT : PCIR_AT + len(pcir)] = pcir
    if npde:
        out[npde_at : npde_at + _NPDE_SIZE] = _npde(blocks, gop_version)
    if devices:
        out[list_at : list_at + len(devices)] = devices
    out[payload_at : payload_at + len(payload)] = payload
    return bytes(out)


def _npde(blocks: int, gop_version: int) -> bytes:
    return b"".join(
        (
            NPDE.build({"signature": b"NPDE", "revision": 0x100, "length": _NPDE_SIZE}),
            NPDE_SUBIMAGE.build({"subimage_length": blocks}),
            NPDE_LAST.build({"last_image": LAST_IMAGE}),
            NPDE_FLAGS.build({"flags": 0}),
            NPDE_GOP_VERSION.build({"gop_version": gop_version}),
        )
    )


def _check_ids(ids: EfiIds) -> None:
    wrong = [v for v in (ids.vendor_id, ids.device_id, *ids.device_list) if not 0 <= v <= 0xFFFF]
    if wrong or not 0 <= ids.class_code <= 0xFFFFFF:
        raise EditRefused("vendor and device ids have 16 bits, class codes 24")
    if len(ids.device_list) > MOST_DEVICES or 0 in ids.device_list:
        raise EditRefused(f"a device list has at most {MOST_DEVICES} ids, and none of them is zero")
