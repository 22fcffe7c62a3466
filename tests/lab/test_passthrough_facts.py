"""The facts that the toolkit stands on, asked from the kernel each time."""

from __future__ import annotations

import errno
import hashlib

import pytest

from lab import vfio
from lab.check import functions, read_rom
from lab.faults import group_busy
from lab.machine import QEMU, Lab
from lab.nested import boot_nested
from lab.sample import AS_SAMPLE, SAMPLE_IDS, sample_rom
from lab.topology import TOPOLOGIES

with_iommu = pytest.mark.parametrize(
    "lab", [name for name, topology in TOPOLOGIES.items() if topology.groups], indirect=True
)
laptop = pytest.mark.parametrize("lab", ["laptop"], indirect=True)
PCI = "/sys/bus/pci/devices"


@with_iommu
def test_bind_open_and_find_again(lab: Lab) -> None:
    """Both functions go to vfio-pci, a guest could open them, and a rescan gives them back."""
    for address in functions(lab):
        vfio.bind(lab, address)
    assert {lab.driver(address) for address in functions(lab)} == {"vfio-pci"}
    opened = vfio.open_device(lab, lab.topology.gpu)
    # Nothing else has a driver here, so that even a group with strangers is viable.
    assert (opened.viable, opened.opened) == (True, True)

    for address in reversed(functions(lab)):
        lab.write(f"{PCI}/{address}/remove", "1\n")
    assert not set(functions(lab)) & set(lab.devices())
    lab.write("/sys/bus/pci/rescan", "1\n")
    assert set(functions(lab)) <= set(lab.devices())
    # The new device knows nothing of the old one's override.
    assert lab.read(f"{PCI}/{lab.topology.gpu}/driver_override") == "(null)"


@pytest.mark.parametrize("lab", ["no-iommu", "iommu-off"], indirect=True)
def test_without_an_iommu_the_probe_succeeds_and_does_nothing(lab: Lab) -> None:
    vfio.bind(lab, lab.topology.gpu)
    assert lab.driver(lab.topology.gpu) is None
    assert "failed with error -22" in lab.dmesg()


@pytest.mark.parametrize(
    "lab",
    [name for name, topology in TOPOLOGIES.items() if topology.boot_vga != topology.gpu],
    indirect=True,
)
def test_the_rom_is_read_back_as_it_was_put_in(lab: Lab) -> None:
    read = read_rom(lab)
    given = sample_rom()
    assert read[: len(given)] == given
    # The BAR is a power of two; what is behind the file is nothing.
    assert read[len(given) :] == bytes(len(read) - len(given))


@pytest.mark.parametrize("lab", ["desktop"], indirect=True)
def test_the_rom_of_the_boot_display_is_its_changed_shadow(lab: Lab) -> None:
    """sysfs shows what the firmware has left at 0xC0000, not what the card has."""
    lab.write(f"{PCI}/{lab.topology.gpu}/rom", "1\n")
    read = lab.read_bytes(f"{PCI}/{lab.topology.gpu}/rom")
    source = "f = open('/dev/mem', 'rb'); f.seek(0xC0000); sys.stdout.buffer.write(f.read(65536))"
    shadow = lab.python(f"import sys; {source}").stdout
    assert read[:2] == b"\x55\xaa"
    assert read[: 1 << 15] == shadow[: 1 << 15]


@laptop
def test_a_sibling_without_driver_or_at_a_stub_leaves_the_group_viable(lab: Lab) -> None:
    gpu, audio = functions(lab)
    vfio.bind(lab, gpu)
    assert vfio.open_device(lab, gpu).viable is True
    lab.run("modprobe", "pci-stub").check()
    vfio.bind(lab, audio, "pci-stub")
    assert (lab.driver(audio), vfio.open_device(lab, gpu).viable) == ("pci-stub", True)


@laptop
def test_qemu_opens_the_group_without_running_a_guest(lab: Lab) -> None:
    for address in functions(lab):
        vfio.bind(lab, address)
    gpu, audio = functions(lab)
    command = [QEMU, "-S", "-accel", "tcg", "-nodefaults", "-display", "none", "-machine", "q35"]
    command += ["-m", "64", "-qmp", "stdio"]
    command += ["-device", "pcie-root-port,id=gpuport,bus=pcie.0,addr=0x1,chassis=1,slot=1"]
    command += ["-device", f"vfio-pci,host={gpu},bus=gpuport,addr=0.0,multifunction=on"]
    command += ["-device", f"vfio-pci,host={audio},bus=gpuport,addr=0.1"]
    qemu = lab.start(*command)
    # It greets before it has made its devices, and answers after that.
    qemu.send(b'{"execute": "qmp_capabilities"}\n')
    qemu.read_until(b'"return"')
    assert vfio.open_device(lab, gpu).error == "EBUSY"
    assert lab.read(f"{PCI}/{gpu}/power_state") == "D0"
    qemu.send(b'{"execute": "quit"}\n')
    assert qemu.wait().status == 0
    assert vfio.open_device(lab, gpu).opened is True


@laptop
def test_a_nested_guest_sees_the_gpu_as_what_it_is_told(lab: Lab) -> None:
    for address in functions(lab):
        vfio.bind(lab, address)
    gpu, audio = functions(lab)
    seen = boot_nested(
        lab,
        f"vfio-pci,host={gpu},bus=gpuport,addr=0.0,multifunction=on,{AS_SAMPLE},"
        "x-pci-sub-vendor-id=0x1025",
        f"vfio-pci,host={audio},bus=gpuport,addr=0.1",
    )
    assert seen.devices.get("0000:01:00.0") == (*SAMPLE_IDS, 0x1025), seen.console
    assert seen.devices.get("0000:01:00.1", (0,))[0] == 0x8086
    rom = sample_rom()
    assert seen.rom_size is not None
    padded = rom + bytes(seen.rom_size - len(rom))
    assert seen.rom_sha256 == hashlib.sha256(padded).hexdigest()


@pytest.mark.parametrize("lab", ["flr"], indirect=True)
def test_an_idle_device_of_vfio_sleeps_and_stays_asleep_when_its_config_is_read(lab: Lab) -> None:
    vfio.bind(lab, lab.topology.gpu)
    device = f"{PCI}/{lab.topology.gpu}"
    assert lab.read(f"{device}/power_state") == "D3hot"
    assert lab.read(f"{device}/power/runtime_status") == "suspended"
    with group_busy(lab, lab.topology.gpu):
        assert lab.read(f"{device}/power_state") == "D0"
    assert lab.read(f"{device}/reset_method").split()[0] == "flr"


@laptop
def test_a_bus_reset_needs_the_audio_function_out_of_the_way(lab: Lab) -> None:
    gpu, audio = functions(lab)
    assert lab.read(f"{PCI}/{gpu}/reset_method") == "bus"
    with pytest.raises(OSError) as refused:  # noqa: PT011 (the number is what is asked)
        lab.write(f"{PCI}/{gpu}/reset", "1\n")
    assert refused.value.errno == errno.ENOTTY
    lab.write(f"{PCI}/{audio}/remove", "1\n")
    lab.write(f"{PCI}/{gpu}/reset", "1\n")


@laptop
def test_an_empty_write_clears_nothing_and_a_newline_does(lab: Lab) -> None:
    override = f"{PCI}/{lab.topology.gpu}/driver_override"
    lab.write(override, "vfio-pci\n")
    lab.write(override, "")
    assert lab.read(override) == "vfio-pci"
    lab.write(override, "\n")
    assert lab.read(override) == "(null)"
