"""PCI functions from sysfs."""

from __future__ import annotations

import errno
from collections.abc import Mapping

import pytest

from diag.device import device_path, read_device, read_devices
from diag.errors import Asleep, Unreadable
from diag.host import Host
from diag.inventory import Inventory
from diag.pci import PciAddress, PciId
from diag.tree import MemoryTree

GPU = PciAddress.parse("0000:01:00.0")
PORT = PciAddress.parse("0000:00:01.0")
REAL = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"

#: As a GeForce GTX 1060 Mobile shows itself, awake.
ATTRIBUTES: dict[str, bytes] = {
    "vendor": b"0x10de\n", "device": b"0x1c20\n", "class": b"0x030000\n", "revision": b"0xa1\n",
    "subsystem_vendor": b"0x1558\n", "subsystem_device": b"0x65a1\n", "boot_vga": b"0\n",
    "power_state": b"D0\n", "power/runtime_status": b"active\n", "power/control": b"on\n",
    "d3cold_allowed": b"1\n", "reset_method": b"pm bus\n", "reset": b"", "enable": b"1\n",
    "driver_override": b"(null)\n", "numa_node": b"-1\n",
    "current_link_speed": b"8.0 GT/s PCIe\n", "current_link_width": b"16\n",
    "max_link_speed": b"8.0 GT/s PCIe\n", "max_link_width": b"16\n",
    "firmware_node/path": b"\\_SB_.PCI0.PEG0.PEGP\n",
    "config": bytes.fromhex("de10201c") + bytes(252),
    "resource": b"""0x00000000de000000 0x00000000deffffff 0x0000000000040200
0x00000000c0000000 0x00000000cfffffff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x00000000d0000000 0x00000000d1ffffff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x000000000000e000 0x000000000000e07f 0x0000000000040101
0x00000000df000000 0x00000000df07ffff 0x0000000000046200
""",
}  # fmt: skip


def machine(
    attributes: Mapping[str, bytes] = ATTRIBUTES,
    port: Mapping[str, bytes] = {"class": b"0x060400\n", "power_state": b"D0\n"},
    refused: Mapping[str, int] | None = None,
) -> Host:
    files = {f"{REAL}/{name}": data for name, data in attributes.items()}
    above = REAL.rpartition("/")[0]
    files |= {f"{above}/{name}": data for name, data in port.items()}
    links = {
        f"/sys/bus/pci/devices/{GPU}": f"../../..{REAL.removeprefix('/sys')}",
        f"/sys/bus/pci/devices/{PORT}": f"../../..{above.removeprefix('/sys')}",
        f"{REAL}/driver": "../../../../bus/pci/drivers/nvidia",
        f"{REAL}/iommu_group": "../../../../kernel/iommu_groups/1",
    }
    return Host(
        tree=MemoryTree(files, links, {f"{REAL}/{k}": v for k, v in (refused or {}).items()})
    )


def test_every_attribute_is_read() -> None:
    gpu = read_device(machine(), GPU)
    assert gpu.path == (PORT, GPU)
    assert (str(gpu.ids), str(gpu.class_code), gpu.prog_if, gpu.revision) == (
        "10de:1c20", "0300", 0, 0xA1,
    )  # fmt: skip
    assert gpu.subsystem == PciId(0x1558, 0x65A1)
    assert (gpu.driver, gpu.driver_override, gpu.group) == ("nvidia", None, 1)
    assert (gpu.boot_vga, gpu.power_state, gpu.runtime_status) == (False, "D0", "active")
    assert (gpu.power_control, gpu.d3cold_allowed, gpu.enabled) == ("on", True, 1)
    assert (gpu.reset_methods, gpu.can_reset) == (("pm", "bus"), True)
    assert gpu.acpi_path == "\\_SB_.PCI0.PEG0.PEGP"
    assert gpu.numa_node is None
    assert gpu.link is not None
    assert (gpu.link.speed, gpu.link.width) == ("8.0 GT/s PCIe", 16)
    assert gpu.rom_size == 512 << 10
    assert [(bar.index, bar.size, bar.memory, bar.bits64) for bar in gpu.bars] == [
        (0, 16 << 20, True, False), (1, 256 << 20, True, True), (3, 32 << 20, True, True),
        (5, 128, False, False),
    ]  # fmt: skip
    assert gpu.bars[1].prefetchable
    assert gpu.answers is True
    assert gpu.unread == {}


def test_an_override_is_told_from_none() -> None:
    gpu = read_device(machine({**ATTRIBUTES, "driver_override": b"vfio-pci\n"}), GPU)
    assert gpu.driver_override == "vfio-pci"


@pytest.mark.parametrize("state", [b"D3hot\n", b"D3cold\n", b"D2\n"])
def test_a_sleeping_device_is_not_woken(state: bytes) -> None:
    """Whatever the kernel would answer from the config space is left alone."""
    gpu = read_device(machine({**ATTRIBUTES, "power_state": state}), GPU)
    assert (gpu.config, gpu.link, gpu.answers) == (None, None, None)
    with pytest.raises(Asleep, match="wake"):
        gpu.known("config")
    assert gpu.ids == PciId(0x10DE, 0x1C20)


def test_the_sizes_of_a_bar_are_not_asked_of_a_sleeping_device() -> None:
    """The kernel answers resourceN_resize from the config space (pci_config_pm_runtime_get)."""
    attributes = {**ATTRIBUTES, "resource1_resize": b"0000000000000300\n"}
    assert read_device(machine(attributes), GPU).bars[1].sizes == (256 << 20, 512 << 20)
    reads: list[str] = []
    for sleeping in ({"power_state": b"D3cold\n"}, {"power/runtime_status": b"suspended\n"}):
        host = machine({**attributes, **sleeping})
        data = host.tree.data
        host.tree.data = lambda path, limit, data=data: reads.append(path) or data(path, limit)  # type: ignore[method-assign]
        assert [bar.sizes for bar in read_device(host, GPU).bars] == [(), (), (), ()]
    assert reads
    assert [path for path in reads if path.endswith("_resize")] == []


def test_a_suspended_device_of_an_old_kernel_is_not_woken() -> None:
    old = {k: v for k, v in ATTRIBUTES.items() if k != "power_state"}
    gpu = read_device(machine({**old, "power/runtime_status": b"suspended\n"}), GPU)
    assert gpu.config is None


def test_a_device_behind_a_sleeping_port_is_not_woken() -> None:
    gpu = read_device(machine(port={"class": b"0x060400\n", "power_state": b"D3hot\n"}), GPU)
    assert gpu.config is None


def test_it_is_woken_if_that_is_wanted() -> None:
    gpu = read_device(machine({**ATTRIBUTES, "power_state": b"D3hot\n"}), GPU, wake=True)
    assert gpu.answers is True


def test_a_dead_device_answers_ones() -> None:
    gpu = read_device(machine({**ATTRIBUTES, "config": b"\xff" * 64}), GPU)
    assert (gpu.answers, str(gpu.ids)) == (False, "10de:1c20")


def test_what_was_refused_is_told_from_what_is_not_there() -> None:
    attributes = {k: v for k, v in ATTRIBUTES.items() if k not in ("config", "reset_method")}
    gpu = read_device(machine(attributes, refused={"config": errno.EACCES}), GPU)
    assert gpu.known("reset_methods") is None
    with pytest.raises(Unreadable) as refused:
        gpu.known("config")
    assert refused.value.needs_root


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
@pytest.mark.parametrize("junk", [b"", b"\xff\xfe", b"0x", b"-1", b"99999999999999999999", b"\n\n"])
def test_no_junk_in_an_attribute_stops_it(name: str, junk: bytes) -> None:
    assert read_device(machine({**ATTRIBUTES, name: junk}), GPU).address == GPU


def test_domains_of_five_digits_and_their_path() -> None:
    inner = "/sys/devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0"
    links = {"/sys/bus/pci/devices/10000:e1:00.0": inner}
    host = Host(tree=MemoryTree({f"{inner}/class": b"0x010802\n"}, links, {}))
    (device,) = read_devices(host)
    path = ["0000:00:0e.0", "10000:e0:06.0", "10000:e1:00.0"]
    assert [str(step) for step in device_path(host, device.address)] == path
    assert str(device.parent) == "10000:e0:06.0"


def test_an_empty_machine_has_no_devices_and_no_groups() -> None:
    empty = Inventory(Host(tree=MemoryTree({}, {}, {})))
    assert (empty.devices, empty.groups, empty.gpus) == ((), (), ())


def test_groups_keep_their_numbers_and_leave_out_what_is_no_pci() -> None:
    files = dict.fromkeys(
        [
            "/sys/kernel/iommu_groups/7/devices/0000:01:00.0",
            "/sys/kernel/iommu_groups/12/devices/INT0E0C:00",
            "/sys/kernel/iommu_groups/12/devices/0000:00:02.0",
        ],
        b"",
    )
    inventory = Inventory(Host(tree=MemoryTree(files, {}, {})))
    found = {group.number: [str(a) for a in group.addresses] for group in inventory.groups}
    assert found == {7: ["0000:01:00.0"], 12: ["0000:00:02.0"]}
