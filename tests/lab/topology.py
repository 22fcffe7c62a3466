"""The machines that the lab can be, as data.

Every device has its address spelled out, so that a topology is the same each time. The firmware
numbers buses in the order of the slots on the first bus: the port in slot 1 leads to bus 1.
"""

from __future__ import annotations

from dataclasses import dataclass

PORT = "0000:00:01.0"
GPU = "0000:01:00.0"
AUDIO = "0000:01:00.1"
INTEGRATED = "0000:00:02.0"

#: ``-device`` arguments of an integrated display: the firmware boots with it, not with the GPU.
_INTEGRATED = "VGA,id=igpu,bus=pcie.0,addr=0x2"
#: The GPU's HD audio function. multifunction is on in both functions, as in real devices: without
#: it a rescan puts the second one in a group of its own.
_AUDIO = (
    "ich9-intel-hda,id=audio,bus=gpuport,addr=0.1,multifunction=on",
    "hda-micro,bus=audio.0,audiodev=silence",
)
_INTEL = "intel-iommu,intremap=on,caching-mode=on,device-iotlb=on"
_AMD = "amd-iommu,intremap=on,device-iotlb=on"
#: QEMU's own hot-plug through ACPI puts a _DSM on every port, where a laptop has its own.
_NATIVE_HOTPLUG = ("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off")


def _port(
    number: int,
    *,
    acs: bool = True,
    soldered: bool = False,
    addr: str | None = None,
    name: str = "gpuport",
) -> str:
    address = addr or f"{number:#x}"
    port = f"pcie-root-port,id={name},bus=pcie.0,addr={address},chassis={number},slot={number}"
    # QEMU's root ports have ACS. Those of most laptops have not, or hide it.
    port = port if acs else f"{port},disable-acs=on"
    # A port for hot-plugging gives its slot power whenever it is found.
    return f"{port},hotplug=off" if soldered else port


def _gpu(model: str = "VGA", *, audio: bool = True, port: str = "gpuport") -> str:
    functions = ",multifunction=on" if audio else ""
    return f"{model},id=gpu,bus={port},addr=0.0{functions}"


@dataclass(frozen=True, slots=True)
class Topology:
    """A machine to boot.

    Attributes:
        name: how tests and ``make lab`` ask for it.
        about: what real machine it stands for, in one sentence.
        devices: QEMU's ``-device`` arguments, in their order. The one with ``id=gpu`` takes a ROM.
        append: what the kernel's command line says besides the console.
        groups: the IOMMU groups of the GPU and of what stands around it, as ACS lets expect
            them (PCIe 5.0, 6.12; Linux, drivers/iommu/iommu.c, pci_device_group).
        options: further QEMU options.
        optimus: whether our Optimus SSDT is loaded (see ``sources/optimus.dsl``).
        boot_vga: the address of the display that the firmware has used.
        gpu: where the GPU is.
        audio: where its audio function is, if it has one.
        memory: MiB.
    """

    name: str
    about: str
    devices: tuple[str, ...]
    append: str
    groups: tuple[frozenset[str], ...]
    options: tuple[str, ...] = ()
    optimus: bool = False
    boot_vga: str = INTEGRATED
    gpu: str = GPU
    audio: str | None = AUDIO
    memory: int = 1024


def _group(*addresses: str) -> frozenset[str]:
    return frozenset(addresses)


_ALL = (
    Topology(
        "laptop",
        "An Optimus laptop: the discrete GPU behind a root port without ACS, an integrated one",
        (_INTEL, _INTEGRATED, _port(1, acs=False, soldered=True), _gpu(), *_AUDIO),
        "intel_iommu=on",
        (_group(PORT, GPU, AUDIO), _group(INTEGRATED)),
        options=_NATIVE_HOTPLUG,
        optimus=True,
    ),
    Topology(
        "desktop",
        "One GPU behind a root port with ACS; the firmware has booted with it",
        (_INTEL, _port(1), _gpu(), *_AUDIO),
        "intel_iommu=on",
        (_group(PORT), _group(GPU, AUDIO)),
        boot_vga=GPU,
    ),
    Topology(
        "flr",
        "A GPU that can reset itself (flr, pm) beside an integrated one",
        (_INTEL, _INTEGRATED, _port(1), _gpu("virtio-vga"), *_AUDIO),
        "intel_iommu=on iommu=pt",
        (_group(PORT), _group(GPU, AUDIO), _group(INTEGRATED)),
    ),
    Topology(
        "amd",
        "An AMD machine: amd-iommu, a root port with ACS, an integrated GPU",
        # QEMU's amd-iommu is a PCI function itself and takes the first free slot: it comes last.
        (_INTEGRATED, _port(1), _gpu(), *_AUDIO, _AMD),
        "",
        (_group(PORT), _group(GPU, AUDIO), _group(INTEGRATED)),
    ),
    Topology(
        "strangers",
        "Two ports of one slot without ACS: a network card shares the GPU's group",
        (
            _INTEL,
            _INTEGRATED,
            _port(1, acs=False, addr="0x1.0") + ",multifunction=on",
            _port(2, acs=False, addr="0x1.1", name="nicport") + ",multifunction=on",
            _gpu(),
            *_AUDIO,
            "e1000e,bus=nicport,addr=0.0,romfile=",
        ),
        "intel_iommu=on",
        (_group(PORT, "0000:00:01.1", GPU, AUDIO, "0000:02:00.0"), _group(INTEGRATED)),
    ),
    Topology(
        "bridge",
        "A GPU on conventional PCI: everything behind the bridge is one group",
        (
            _INTEL,
            _INTEGRATED,
            "pcie-pci-bridge,id=gpuport,bus=pcie.0,addr=0x1",
            "VGA,id=gpu,bus=gpuport,addr=1.0,multifunction=on",
            "ich9-intel-hda,id=audio,bus=gpuport,addr=1.1,multifunction=on",
            "hda-micro,bus=audio.0,audiodev=silence",
            "e1000,bus=gpuport,addr=2.0,romfile=",
        ),
        "intel_iommu=on",
        (
            _group(PORT, "0000:01:01.0", "0000:01:01.1", "0000:01:02.0"),
            _group(INTEGRATED),
        ),
        gpu="0000:01:01.0",
        audio="0000:01:01.1",
    ),
    Topology(
        "switch",
        "A GPU and a network card behind the two downstream ports of a PCIe switch",
        (
            _INTEL,
            _INTEGRATED,
            _port(1, name="rootport"),
            "x3130-upstream,id=upstream,bus=rootport",
            "xio3130-downstream,id=gpuport,bus=upstream,addr=0x0,chassis=5,slot=5",
            "xio3130-downstream,id=nicport,bus=upstream,addr=0x1,chassis=6,slot=6",
            _gpu(),
            *_AUDIO,
            "e1000e,bus=nicport,addr=0.0,romfile=",
        ),
        "intel_iommu=on",
        # QEMU's downstream ports have no ACS: each shares the group of what is plugged into it.
        # But they are told apart from each other, as each is a device of its own, not a function.
        (
            _group(PORT),
            _group("0000:01:00.0"),
            _group("0000:02:00.0", "0000:03:00.0", "0000:03:00.1"),
            _group("0000:02:01.0", "0000:04:00.0"),
            _group(INTEGRATED),
        ),
        gpu="0000:03:00.0",
        audio="0000:03:00.1",
    ),
    Topology(
        "no-iommu",
        "A machine whose firmware shows no IOMMU",
        (_INTEGRATED, _port(1), _gpu(), *_AUDIO),
        "intel_iommu=on",
        (),
    ),
    Topology(
        "iommu-off",
        "An Intel machine with an IOMMU that its kernel does not use",
        (_INTEL, _INTEGRATED, _port(1), _gpu(), *_AUDIO),
        # Debian's kernel uses it unless it is told not to; many others must be told to.
        "intel_iommu=off",
        (),
    ),
    Topology(
        "pluggable",
        "A 3D controller that can be pulled out while the machine runs",
        (_INTEL, _INTEGRATED, _port(1), _gpu("secondary-vga", audio=False)),
        "intel_iommu=on",
        (_group(PORT), _group(GPU), _group(INTEGRATED)),
        audio=None,
    ),
)

#: All of them, by name.
TOPOLOGIES = {topology.name: topology for topology in _ALL}
