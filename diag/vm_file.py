"""What a VM shows of itself and of the GPU to its guest, from its description.

Two forms are read, the ones that people have: libvirt's XML (``virsh dumpxml``), and a QEMU command
line, as in a script, a log of libvirt's, or /proc/PID/cmdline.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from diag.demand import MAX_TEXT, NotAVm, VmDemand, demand_of_domain, demand_of_line
from diag.pci import PciAddress
from diag.qemu_line import Options, parse_options, parse_words, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable
    from xml.etree.ElementTree import Element

_QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
#: libvirt's and QEMU's root ports; the second is the one of old Intel chipsets.
_ROOT_PORTS = ("pcie-root-port", "ioh3420")


@dataclass(frozen=True, slots=True)
class Hostdev:
    """A function of the host that the VM is to get.

    Attributes:
        source: where it is on the host; None for a mediated device, or one that is not named.
        mdev: whether it is a mediated device, as GVT-g gives.
        place: where the guest sees it; None where the description leaves that open.
        port: address of the root port above it in the guest; None where it has none.
        hotplug: whether that port may be unplugged.
        rom_file: the file with its ROM.
        rom_bar: whether the guest sees a ROM BAR; None where that is not said: it does.
        subsystem: the subsystem ids that the guest is told, vendor and device; None: the card's.
        name: its alias or id, by which overrides name it.
    """

    source: PciAddress | None = None
    mdev: bool = False
    place: PciAddress | None = None
    port: PciAddress | None = None
    hotplug: bool = True
    rom_file: str | None = None
    rom_bar: bool | None = None
    subsystem: tuple[int | None, int | None] = (None, None)
    name: str = ""


@dataclass(frozen=True, slots=True)
class VmFile:
    """A VM's description, as far as a GPU's driver in the guest can tell.

    Attributes:
        libvirt: whether it is libvirt's XML.
        machine: QEMU's machine type, like ``pc-q35-7.2``; empty where it is not said.
        kvm_hidden: whether the guest is kept from seeing KVM.
        vendor_id: the Hyper-V vendor id; None where there is none.
        hyperv: the other Hyper-V features that are on.
        irqchip: ``kvm``, ``split`` or ``qemu``; None where it is not said.
        hostdevs: what it gets of the host, in order.
        acpi_tables: files of ACPI tables that it gets besides its own.
        fw_cfg: names and files that its firmware and tables can read.
        videos: models of its virtual displays, like ``qxl``.
        demand: what it needs of the host.
        spare: what stands in the description and could not be understood.
    """

    libvirt: bool
    machine: str = ""
    kvm_hidden: bool = False
    vendor_id: str | None = None
    hyperv: tuple[str, ...] = ()
    irqchip: str | None = None
    hostdevs: tuple[Hostdev, ...] = ()
    acpi_tables: tuple[str, ...] = ()
    fw_cfg: tuple[tuple[str, str], ...] = ()
    videos: tuple[str, ...] = ()
    demand: VmDemand = field(default_factory=VmDemand)
    spare: tuple[str, ...] = ()

    @property
    def is_q35(self) -> bool:
        """Whether it has PCI Express."""
        return "q35" in self.machine

    def hostdev(self, source: PciAddress) -> Hostdev | None:
        """What it does with a function of the host; None if it does not get it."""
        return next((hostdev for hostdev in self.hostdevs if hostdev.source == source), None)


def parse_vm_file(text: str) -> VmFile:
    """A VM's description.

    Raises:
        NotAVm: the text is none, is damaged, or declares entities: libvirt's XML never does.
    """
    if len(text) > MAX_TEXT:
        raise NotAVm("larger than any description of a VM", hint="virsh dumpxml NAME")
    if "<domain" in text:
        return _libvirt(_element(text))
    return _qemu(parse_words(text))


# libvirt's XML (https://libvirt.org/formatdomain.html).


def _element(text: str) -> Element:
    from xml.etree.ElementTree import ParseError, TreeBuilder, XMLParser

    class Builder(TreeBuilder):
        """Refuses a document type before any entity in it is declared, let alone expanded."""

        def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
            raise NotAVm("it declares a document type, which libvirt's XML never does")

    parser = XMLParser(target=Builder())
    try:
        # A copy from a terminal may start with its prompt.
        parser.feed(text[text.index("<") :])
        root: Element = parser.close()
    except ParseError as error:
        raise NotAVm(f"damaged XML: {error}", hint="virsh dumpxml NAME > FILE") from None
    domain = root if root.tag == "domain" else root.find(".//domain")
    if domain is None:
        raise NotAVm("XML without a domain", hint="virsh dumpxml NAME > FILE")
    return domain


def _is_on(element: Element | None) -> bool:
    return element is not None and element.get("state", "on") == "on"


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text, 0)
    except ValueError:
        return None


def _address(element: Element | None) -> PciAddress | None:
    if element is None or element.get("type", "pci") != "pci":
        return None
    names = ("domain", "bus", "slot", "function")
    parts = [_number(element.get(name, "0")) for name in names]
    try:
        return PciAddress(*(part for part in parts if part is not None))
    except (TypeError, ValueError):
        return None


def _libvirt(domain: Element) -> VmFile:
    hyperv = domain.find("features/hyperv")
    features = [] if hyperv is None else list(hyperv)
    vendor = None if hyperv is None else hyperv.find("vendor_id")
    passed_on = hyperv is not None and hyperv.get("mode") == "passthrough"
    whole = ("passthrough",) if passed_on else ()
    kind = domain.find("os/type")
    hostdevs, ports = [], _libvirt_ports(domain)
    for number, element in enumerate(domain.iterfind("devices/hostdev")):
        hostdevs.append(_libvirt_hostdev(element, number, ports))
    models = (video.get("type") for video in domain.iterfind("devices/video/model"))
    ioapic = domain.find("features/ioapic")
    hidden = domain.find("features/kvm/hidden")
    vm = VmFile(
        libvirt=True,
        machine="" if kind is None else kind.get("machine", ""),
        kvm_hidden=hidden is not None and _is_on(hidden),
        vendor_id=vendor.get("value", "") if _is_on(vendor) and vendor is not None else None,
        hyperv=(*whole, *(e.tag for e in features if e.tag != "vendor_id" and _is_on(e))),
        irqchip=None if ioapic is None else ioapic.get("driver"),
        hostdevs=tuple(hostdevs),
        fw_cfg=tuple(
            (entry.get("name", ""), entry.get("file", ""))
            for entry in domain.iterfind("sysinfo[@type='fwcfg']/entry")
        ),
        acpi_tables=tuple((table.text or "").strip() for table in domain.iterfind("os/acpi/table")),
        videos=tuple(model for model in models if model and model != "none"),
    )
    vm = _overridden(vm, domain)
    found = domain.iterfind(f"{_QEMU}commandline/{_QEMU}arg")
    arguments = [argument.get("value") or "" for argument in found]
    vm = replace(vm, demand=demand_of_domain(domain, arguments))
    return _with_arguments(vm, arguments)


def _libvirt_ports(domain: Element) -> dict[int, tuple[PciAddress | None, bool]]:
    """Bus number → address of the root port that leads to it, and whether it can be unplugged."""
    found: dict[int, tuple[PciAddress | None, bool]] = {}
    for controller in domain.iterfind("devices/controller[@type='pci']"):
        index = _number(controller.get("index"))
        if controller.get("model") not in _ROOT_PORTS or index is None:
            continue
        target = controller.find("target")
        hotplug = target is None or target.get("hotplug", "on") == "on"
        found[index] = (_address(controller.find("address")), hotplug)
    return found


def _libvirt_hostdev(
    element: Element, number: int, ports: dict[int, tuple[PciAddress | None, bool]]
) -> Hostdev:
    mdev = element.get("type") == "mdev"
    place, rom = _address(element.find("address")), element.find("rom")
    port, hotplug = ports.get(place.bus, (None, True)) if place else (None, True)
    alias = element.find("alias")
    bar = None
    if rom is not None:
        bar = rom.get("enabled") != "no" and rom.get("bar", "on") == "on"
    return Hostdev(
        source=None if mdev else _address(element.find("source/address")),
        mdev=mdev,
        place=place,
        port=port,
        hotplug=hotplug,
        rom_file=None if rom is None else rom.get("file"),
        rom_bar=bar,
        name=f"hostdev{number}" if alias is None else alias.get("name", ""),
    )


def _overridden(vm: VmFile, domain: Element) -> VmFile:
    """With the properties of ``qemu:override``, whose numbers are decimal."""
    for device in domain.iterfind(f"{_QEMU}override/{_QEMU}device"):
        for item in device.iterfind(f"{_QEMU}frontend/{_QEMU}property"):
            value = item.get("value", "")
            number = whole_number(value) if value.isdecimal() else None
            vm = _set(vm, device.get("alias", ""), item.get("name", ""), number, value)
    return vm


def _set(vm: VmFile, device: str, name: str, number: int | None, written: str) -> VmFile:
    """With one property of one hostdev changed."""
    if name not in ("x-pci-sub-vendor-id", "x-pci-sub-device-id"):
        return vm
    spare = (*vm.spare, f"{name} = {written}") if number is None else vm.spare
    hostdevs = [
        _with_subsystem(hostdev, name, number) if hostdev.name == device else hostdev
        for hostdev in vm.hostdevs
    ]
    return replace(vm, hostdevs=tuple(hostdevs), spare=spare)


def _with_subsystem(hostdev: Hostdev, name: str, number: int | None) -> Hostdev:
    vendor, model = hostdev.subsystem
    ids = (number, model) if name == "x-pci-sub-vendor-id" else (vendor, number)
    return replace(hostdev, subsystem=ids)


# QEMU's command line (https://www.qemu.org/docs/master/system/invocation.html).


def _qemu(words: list[str]) -> VmFile:
    vm = _with_arguments(VmFile(libvirt=False, demand=demand_of_line(words)), words)
    if not any(word.startswith("-") for word in words):
        raise NotAVm(
            "neither libvirt's XML nor a QEMU command line",
            hint="virsh dumpxml NAME > FILE, or a file with the qemu-system-x86_64 command",
        )
    return vm


def _with_arguments(vm: VmFile, words: list[str]) -> VmFile:
    """With what QEMU's options say; later ones count."""
    options = parse_options(words)
    for machine in (*options.of("machine"), *options.of("M")):
        vm = replace(vm, machine=machine.get("type") or vm.machine)
        chip = machine.get("kernel_irqchip") or machine.get("kernel-irqchip")
        if chip:
            names = {"on": "kvm", "off": "qemu", "split": "split"}
            vm = replace(vm, irqchip=names.get(chip, chip))
    for accel in options.of("accel"):
        chip = accel.get("kernel-irqchip") or accel.get("kernel_irqchip")
        if chip:
            vm = replace(vm, irqchip={"on": "kvm", "off": "qemu"}.get(chip, chip))
    for cpu in options.of("cpu"):
        vm = _with_cpu(vm, cpu)
    devices = options.of("device")
    vm = replace(
        vm,
        hostdevs=(*vm.hostdevs, *_qemu_hostdevs(devices)),
        acpi_tables=(*vm.acpi_tables, *(t.get("file", "") for t in options.of("acpitable"))),
        fw_cfg=(
            *vm.fw_cfg,
            *((item.get("name", ""), item.get("file", "")) for item in options.of("fw_cfg")),
        ),
        videos=(*vm.videos, *_qemu_videos(options)),
    )
    for item in options.of("set"):
        for key, value in item.items():
            kind, _, rest = key.partition(".")
            device, _, name = rest.rpartition(".")
            if kind == "device":
                vm = _set(vm, device, name, whole_number(value), value)
    return vm


def _with_cpu(vm: VmFile, cpu: dict[str, str]) -> VmFile:
    flat = {key.replace("_", "-"): value for key, value in cpu.items()}
    on = [
        key[3:]
        for key, value in flat.items()
        if key.startswith("hv-") and key != "hv-vendor-id" and value not in ("off", "no", "false")
    ]
    # Old scripts write +feature and -feature.
    on += [key[4:] for key in flat if key.startswith("+hv-")]
    hidden = flat.get("kvm") in ("off", "no", "false") or "-kvm" in flat
    return replace(
        vm,
        kvm_hidden=vm.kvm_hidden or hidden,
        vendor_id=flat.get("hv-vendor-id", vm.vendor_id),
        hyperv=tuple(dict.fromkeys((*vm.hyperv, *on))),
    )


def _qemu_place(text: str | None, bus: int) -> PciAddress | None:
    """A property ``addr``: a slot in hex, perhaps with a function."""
    if text is None:
        return None
    slot, _, function = text.partition(".")
    try:
        return PciAddress(0, bus, int(slot, 16), int(function or "0", 16))
    except ValueError:
        return None


def _qemu_hostdevs(devices: Iterable[dict[str, str]]) -> list[Hostdev]:
    """Firmware numbers the buses behind root ports in the order of the ports' slots (measured)."""
    devices = list(devices)
    ports = {
        device.get("id", ""): (_qemu_place(device.get("addr"), 0), device.get("hotplug") != "off")
        for device in devices
        if device.get("driver") in _ROOT_PORTS and device.get("bus", "pcie.0") == "pcie.0"
    }
    placed = {name: place for name, (place, _) in ports.items() if place is not None}
    # A port that QEMU is to place may come before any other: then no bus is certain.
    order = sorted(placed, key=lambda name: placed[name]) if len(placed) == len(ports) else []
    found = []
    for device in devices:
        if not device.get("driver", "").startswith("vfio-pci"):
            continue
        bus = device.get("bus", "pcie.0")
        port, hotplug = ports.get(bus, (None, True))
        number = order.index(bus) + 1 if bus in order else None
        number = 0 if bus in ("pcie.0", "pci.0") else number
        found.append(
            Hostdev(
                source=_qemu_source(device),
                mdev="/mdev/" in device.get("sysfsdev", "") or "mdev" in device.get("sysfsdev", ""),
                place=None if number is None else _qemu_place(device.get("addr"), number),
                port=port,
                hotplug=hotplug,
                rom_file=device.get("romfile"),
                rom_bar=None if "rombar" not in device else _bar_on(device["rombar"]),
                subsystem=(
                    whole_number(device.get("x-pci-sub-vendor-id", "")),
                    whole_number(device.get("x-pci-sub-device-id", "")),
                ),
                name=device.get("id", ""),
            )
        )
    return found


def _bar_on(value: str) -> bool:
    return value not in ("0", "off", "0x0")


def _qemu_source(device: dict[str, str]) -> PciAddress | None:
    place = device.get("host") or device.get("sysfsdev", "").rstrip("/").rpartition("/")[2]
    try:
        return PciAddress.parse(place)
    except ValueError:
        return None


#: Virtual displays by the names of their devices.
_DISPLAYS = (
    "VGA", "secondary-vga", "qxl", "qxl-vga", "virtio-vga", "virtio-vga-gl", "virtio-gpu-pci",
    "virtio-gpu-gl-pci", "virtio-gpu-gl", "virtio-gpu", "cirrus-vga", "vmware-svga",
    "bochs-display", "ramfb",
)  # fmt: skip


def _qemu_videos(options: Options) -> list[str]:
    models = [device["driver"] for device in options.of("device") if "driver" in device]
    found = [model for model in models if model in _DISPLAYS]
    found += [vga["type"] for vga in options.of("vga") if vga.get("type", "none") != "none"]
    return found
