"""Functions that keep others apart although they show no ACS, or show it in the wrong place.

The kernel knows them by their ids (drivers/pci/quirks.c, `pci_dev_acs_enabled`, as of Linux 6.18;
older kernels know fewer). Only facts are here: which ids, and what is required besides.
"""

from __future__ import annotations

from dataclasses import dataclass

from diag.pci import PciId

INTEL, AMD, ATI, ZHAOXIN, WANGXUN, CAVIUM = 0x8086, 0x1022, 0x1002, 0x1D17, 0x8088, 0x177D

#: PCI Express types (Base Specification 7.5.3.2) that quirks ask for.
ROOT_PORT, DOWNSTREAM, INTEGRATED = 4, 6, 9


@dataclass(frozen=True, slots=True)
class Quirk:
    """What the kernel knows about a function besides its config.

    Attributes:
        separates: whether it counts as having all of ACS.
        why: in words.
    """

    separates: bool
    why: str


def _ids(vendor: int, *devices: int) -> frozenset[PciId]:
    return frozenset(PciId(vendor, device) for device in devices)


#: Functions of one device that do not talk to each other, as their vendors say.
_APART = (
    _ids(0x1924, 0x0903, 0x0923, 0x0A03)
    | _ids(
        INTEL, 0x10C6, 0x10DB, 0x10DD, 0x10E1, *range(0x10F7, 0x10FD), 0x10F1, 0x1507, 0x1514,
        0x151C, 0x1529, 0x152A, 0x154D, 0x154F, 0x1551, 0x1558, 0x1509, *range(0x150E, 0x1512),
        0x1516, 0x1527, 0x10C9, *range(0x10E6, 0x10E9), 0x150A, 0x150D, 0x1518, 0x1526, 0x10A7,
        0x10A9, 0x10D6, *range(0x1521, 0x1525), 0x105E, 0x105F, 0x1060, 0x10D9, 0x15B7, 0x15B8,
    )
    | _ids(0x19A2, 0x0710)
    | _ids(0x10DF, 0x0720)
    | _ids(CAVIUM, 0xA026, 0xA059, 0xA060)
    | _ids(0x14E4, 0x16D7, *range(0x1750, 0x1753), *range(0x1760, 0x1764))
    | _ids(ZHAOXIN, 0x3038, 0x3104, 0x9083)
)  # fmt: skip

#: Ports that pass nothing from one to another, whatever their type.
_PORTS = (
    _ids(0x17CB, 0x0400, 0x0401, 0x0115)
    | _ids(0x1DBF, 0x0401)
    | _ids(0x10E8, 0xE004)
    | _ids(0x1DEF, *range(0xE005, 0xE00D))
    | _ids(0x14E4, 0xD714)
    | _ids(0x0014, 0x3C09, 0x3C19, 0x3C29, *range(0x7A09, 0x7A70, 0x10))
    | _ids(
        0x1957, 0x8D81, 0x8DA1, 0x8D83, 0x8D80, 0x8DA0, 0x8D82, 0x8D90, 0x8DB0, 0x8D92, 0x8D91,
        0x8DB1, 0x8D93, 0x8D89, 0x8DA9, 0x8D8B, 0x8D88, 0x8DA8, 0x8D8A, 0x8D98, 0x8DB8, 0x8D9A,
        0x8D99, 0x8DB9, 0x8D9B,
    )
)  # fmt: skip

#: Root ports of Intel chipsets with registers of their own in place of ACS: Ibex Peak to the 9
#: series.
_INTEL_PCH = (
    _ids(INTEL, *range(0x3B42, 0x3B52), *range(0x1C10, 0x1C20), *range(0x1E10, 0x1E20))
    | _ids(INTEL, *range(0x8C10, 0x8C20), *range(0x9C10, 0x9C1C), *range(0x9C90, 0x9C9C))
    | _ids(INTEL, *range(0x1D10, 0x1D20, 2), *range(0x8D10, 0x8D1F), *range(0x8C90, 0x8CA0, 2))
)

#: Root ports of Intel's 100 and 200 series and of 7th and 8th generation mobile chipsets: their ACS
#: control register is a double word at offset 8 of the capability, where the specification has a
#: word at offset 6. lspci reads the wrong place.
_INTEL_SHIFTED = (
    _ids(INTEL, *range(0xA110, 0xA120), *range(0xA167, 0xA16B), *range(0x9D10, 0x9D1C))
    | _ids(INTEL, *range(0xA290, 0xA2A0), *range(0xA2E7, 0xA2EF))
)  # fmt: skip

#: Parts of AMD's south bridges: apart where they are functions on the root bus and the firmware
#: describes an IOMMU.
_AMD_SOUTH = _ids(ATI, 0x4385, 0x439C, 0x4383, 0x439D, 0x4384, 0x4399) | _ids(AMD, 0x780F, 0x7809)

_ZHAOXIN_PORTS = frozenset({*range(0x0710, 0x071F), 0x0721, *range(0x0723, 0x0753)})
_WANGXUN = frozenset(
    {*range(0x0100, 0x0110), 0x1001, 0x2001, 0x5010, 0x5025, 0x5040, 0x5110, 0x5125, 0x5140}
)


def depends_on_type(ids: PciId) -> bool:
    """Whether a quirk can only be told with the PCI Express type, which needs root."""
    return ids.vendor in (INTEL, ZHAOXIN, CAVIUM) or ids == PciId(0x1C36, 0x0031)


def has_shifted_control(ids: PciId, kind: int | None) -> bool:
    """Whether the ACS control register is at offset 8 of the capability, not at 6."""
    return kind == ROOT_PORT and ids in _INTEL_SHIFTED


def find_quirk(
    ids: PciId, kind: int | None, *, multifunction: bool, on_root_bus: bool, has_ivrs: bool
) -> Quirk | None:
    """What the kernel knows about a function by its ids; None where it goes by the config.

    Args:
        ids: vendor and device.
        kind: PCI Express type; None for conventional PCI.
        multifunction: whether it is one of several functions.
        on_root_bus: whether no bridge is above it.
        has_ivrs: whether the firmware has the table that describes an AMD IOMMU.
    """
    if ids in _AMD_SOUTH and multifunction and on_root_bus and has_ivrs:
        return Quirk(True, "AMD: these functions of the chipset do not talk to each other")
    if ids in _APART:
        return Quirk(True, "its vendor says that its functions do not talk to each other")
    if ids.vendor == INTEL and kind == INTEGRATED:
        return Quirk(True, "Intel: integrated endpoints talk to others by the IOMMU only")
    if ids in _PORTS:
        return Quirk(True, "this port passes nothing on to other ports")
    if kind == ROOT_PORT:
        if ids in _INTEL_PCH:
            return Quirk(True, "Intel chipset port: registers of its own stand in for ACS")
        if ids.vendor == CAVIUM and _is_cavium_port(ids.device):
            return Quirk(True, "this port passes nothing on to other ports")
        if ids == PciId(0x1C36, 0x0031):
            return Quirk(True, "this port passes nothing on to other ports")
    if ids.vendor == ZHAOXIN and kind in (ROOT_PORT, DOWNSTREAM):
        # For Zhaoxin's other ports the kernel answers no without a look at their ACS.
        apart = ids.device in _ZHAOXIN_PORTS
        return Quirk(apart, "Zhaoxin port: known to keep others apart, or not, by its id")
    if ids.vendor == WANGXUN:
        apart = ids.device in _WANGXUN
        return Quirk(apart, "Wangxun: known to keep its functions apart, or not, by its id")
    return None


def _is_cavium_port(device: int) -> bool:
    return 0xA000 <= device <= 0xA7FF or device in (0xAF84, 0xB884)
