"""Names of devices: udev's, pci.ids', or the ids."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from builders.host import HostTree

from diag.host import Host
from diag.inventory import Inventory
from diag.names import PLACES, Names
from diag.pci import PciClass, PciId

LIST = """\
# comment
10dd  Another Vendor
\t1c20  Not this one
10de  NVIDIA Corporation
\t1c2  no line of this list
\t1c20  GP106M [GeForce GTX 1060 Mobile]
\t\t1028 0787  A Dell
\t\t1558 65a1  A Clevo
\t1c21  GP106M [GeForce GTX 1050 Ti Mobile]
\t\t1558 65a2  Not of 1c20
# another comment
\t2191  TU116M
10df  Emulex Corporation
\t2191  Not of NVIDIA

C 03  Display controller
\t00  VGA compatible controller
\t\t00  VGA controller
\t02  3D controller
C 0c  Serial bus controller
\t03  USB controller
"""
GPU = "0000:01:00.0"


def machine() -> HostTree:
    return HostTree().device(GPU, vendor=0x10DE, device=0x1C20, class_=0x030000)


def names_of(tree: HostTree) -> Names:
    return Names(tree.host())


def test_a_vendors_block_ends_with_the_next_vendor() -> None:
    names = names_of(HostTree().file(PLACES[1], LIST))
    assert names.vendor(0x10DE) == "NVIDIA Corporation"
    assert names.model(PciId(0x10DE, 0x2191)) == "TU116M"
    assert names.model(PciId(0x10DE, 0x1C20)) == "GP106M [GeForce GTX 1060 Mobile]"
    assert names.model(PciId(0x10DD, 0x2191)) is None
    assert names.vendor(0x10D0) is None
    assert names.board(PciId(0x10DE, 0x1C20), PciId(0x1558, 0x65A1)) == "A Clevo"
    assert names.board(PciId(0x10DE, 0x1C20), PciId(0x1558, 0x65A2)) is None
    assert names.class_name(PciClass(0x0302)) == "3D controller"
    assert names.class_name(PciClass(0x0C80)) == "Serial bus controller"
    assert names.class_name(PciClass(0x4000)) is None


def test_udev_comes_first_and_ids_are_the_last_resort() -> None:
    (gpu,) = Inventory(machine().host()).devices
    assert names_of(machine()).of(gpu) == "Vendor 10de Device 1c20"
    tree = machine().file(PLACES[0], LIST)
    assert names_of(tree).of(gpu) == "NVIDIA Corporation GP106M [GeForce GTX 1060 Mobile]"
    said = "E:ID_VENDOR_FROM_DATABASE=NVIDIA\nE:ID_MODEL_FROM_DATABASE=GTX 1060\n"
    tree.file(f"/run/udev/data/+pci:{GPU}", said)
    assert names_of(tree).of(gpu) == "NVIDIA GTX 1060"
    assert names_of(tree.refused(f"/run/udev/data/+pci:{GPU}")).of(gpu).startswith("NVIDIA Corp")


def real_list() -> Path:
    found = next((Path(place) for place in PLACES if Path(place).exists()), None)
    if found is None:
        pytest.skip("no pci.ids on this machine")
    return found


def test_names_are_those_that_lspci_prints() -> None:
    """lspci reads the same list in its own way, and here makes names of a dump's bytes."""
    path = real_list()
    text = path.read_text(encoding="utf-8", errors="replace")
    vendors = re.findall(r"^([0-9a-f]{4})  (.+)$", text, re.MULTILINE)[::97]
    names = Names(Host("/"))
    for vendor, name in vendors:
        assert names.vendor(int(vendor, 16)) == name.strip()
    try:
        from builders.config_space import Function, dump

        shown = subprocess.run(
            ["lspci", "-F", "/dev/stdin", "-i", str(path)], input=dump(Function()),
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
    except FileNotFoundError:
        pytest.skip("no lspci on this machine")
    model = names.model(PciId(0x10DE, 0x1C20))
    assert f"{names.vendor(0x10DE)} {model}" in shown
