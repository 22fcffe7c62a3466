"""What the firmware has for a card, on the real kernel: its ROM in two tables, and its picture."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from builders.rom import image, pcir, vfct

from lab import modules
from lab.conftest import missing
from lab.kernel import fetch_kernel
from lab.machine import Lab, open_lab
from lab.packages import LabUnavailable
from lab.sample import sample_rom
from lab.topology import AUDIO, GPU, TOPOLOGIES
from romkit.acpi.path import named_path
from romkit.acpi.vbios import rom_tables

PCI = "/sys/bus/pci/devices"
OUT = "/tmp/firmware.rom"
OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")

#: The GPU in QEMU's tables: function 0 of slot 0 behind function 0 of slot 1.
NODE = r"\_SB.PCI0.S08.S00"

#: What its method hands out: acpi_call prints 42 bytes a call, and each call takes its time here.
SMALL = image(pcir(blocks=4), blocks=4)

#: The lab's GPU (QEMU, docs/specs/pci-ids.rst).
IDS = (0x1234, 0x1111)


def table_of_two(first: bytes, second: bytes) -> bytes:
    """A VFCT of two cards of the lab's kind; the second is the lab's GPU."""
    table = bytearray(vfct(first, second))
    for number, bus in ((0, 2), (1, 1)):
        at = table.index(struct.pack("<III", 4, number, 0))
        table[at : at + 16] = struct.pack("<IIIHH", bus, 0, 0, *IDS)
    return bytes(table)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A laptop whose firmware has a ROM for the GPU in two places."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    rom, folder = sample_rom(), tmp_path_factory.mktemp("tables")
    # QEMU takes 64 KiB a table.
    files = {"vfct": table_of_two(image(pcir()), rom)}
    found = rom_tables(SMALL, named_path(NODE)).tables
    files |= {f"rom{number}": bytes(table) for number, table in enumerate(found)}
    options: list[str] = []
    for name, data in files.items():
        (folder / name).write_bytes(data)
        options += ["-acpitable", f"file={folder / name}"]
    laptop = TOPOLOGIES["laptop"]
    topology = replace(laptop, optimus=False, options=(*laptop.options, *options))
    with open_lab(topology) as lab:
        yield lab


def dump(lab: Lab, via: str) -> bytes:
    done = lab.run("passthrough", "rom", "dump", GPU, "-o", OUT, "--via", via, "--json").check()
    assert json.loads(done.out)["via"] == via
    data = lab.read_bytes(OUT)
    lab.run("rm", OUT).check()
    return data


def test_the_rom_of_the_vfct_is_this_cards_own(tables: Lab) -> None:
    assert dump(tables, "vfct") == sample_rom()


def test_the_rom_that_a_method_hands_out_is_read_by_acpi_call(tables: Lab) -> None:
    """The method is the one that romkit makes for guests: the kernel's own interpreter runs it."""
    # Linux shows all four characters of each name.
    assert tables.read(f"{PCI}/{GPU}/firmware_node/path") == r"\_SB_.PCI0.S08_.S00_"
    refused = tables.run("passthrough", "rom", "dump", GPU, "-o", OUT, "--via", "acpi")
    assert (refused.status, "modprobe acpi_call" in refused.out) == (1, True)
    try:
        module = modules.acpi_call()
    except LabUnavailable as reason:
        pytest.skip(str(reason))
    tables.run("insmod", module).check()
    assert dump(tables, "acpi") == SMALL
    tables.run("rmmod", module.stem).check()


@pytest.fixture(scope="module")
def picture() -> Iterator[Lab]:
    """A desktop that UEFI has booted, with its picture on the one GPU."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    if not OVMF.exists():
        pytest.skip("needs OVMF (ovmf)")
    kernel = fetch_kernel()
    # The firmware starts the kernel as an EFI program, which the unpacked one is not.
    image = kernel.tree / "boot" / f"vmlinuz-{kernel.version}"
    flash = f"if=pflash,format=raw,readonly=on,file={OVMF}"
    desktop = TOPOLOGIES["desktop"]
    topology = replace(desktop, options=(*desktop.options, "-kernel", str(image), "-drive", flash))
    with open_lab(topology) as lab:
        yield lab


def shown(lab: Lab) -> tuple[str, str]:
    """Who shows the firmware's picture, and whether the text consoles are on it."""
    source = """
import glob
print(*glob.glob('/sys/bus/platform/drivers/efi-framebuffer/efi-framebuffer.0'))
print(*[open(f'{c}/bind').read().strip() for c in glob.glob('/sys/class/vtconsole/*')
        if 'frame buffer' in open(f'{c}/name').read()])"""
    first, _, second = lab.python(source).check().out.partition("\n")
    return first.rpartition("/")[2], second


@pytest.mark.trial
def test_the_firmwares_picture_is_released_and_given_back_as_far_as_the_kernel_lets(
    picture: Lab,
) -> None:
    lab = picture
    assert shown(lab) == ("efi-framebuffer.0", "1")
    # Where it fails before vfio-pci has the card, all is as it was.
    lab.run("mount", "-n", "--bind", "/dev/full", "/sys/bus/pci/drivers_probe").check()
    failed = lab.run("passthrough", "detach", GPU)
    lab.run("umount", "-n", "/sys/bus/pci/drivers_probe").check()
    assert (failed.status, "as it was before" in failed.err) == (4, True), failed.err
    assert shown(lab) == ("efi-framebuffer.0", "1")
    # vfio-pci takes the picture's device off the kernel's list: that is told before, and no fault.
    told = lab.run("passthrough", "detach", GPU, "--dry-run").check().out
    assert "release the boot framebuffer efi-framebuffer.0" in told
    assert "gives it up for good" in told
    lab.run("passthrough", "detach", GPU).check()
    assert (lab.driver(GPU), lab.driver(AUDIO)) == ("vfio-pci", "vfio-pci")
    assert shown(lab) == ("", "")
    lab.run("passthrough", "reattach", GPU).check()
    assert (lab.driver(GPU), lab.driver(AUDIO)) == (None, None)
    assert "nothing to recover" in lab.run("passthrough", "recover").check().out
    # The host's display driver brings a picture of its own.
    lab.run("modprobe", "bochs").check()
    assert shown(lab)[1] == "1"
