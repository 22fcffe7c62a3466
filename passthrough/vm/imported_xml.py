"""A domain of libvirt's as a profile; the GPU and what hides the VM are read by `diag.vm_file`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from diag.pci import PciAddress
from passthrough.vm.draft import Draft
from passthrough.vm.imported_qemu import is_number, memory_size, nic_model, read_arguments

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
#: libvirt's units of memory; KiB where it gives none.
_UNITS = {"KiB": "K", "k": "K", "MiB": "M", "M": "M", "GiB": "G", "G": "G", "TiB": "T", "T": "T"}
#: The parts of a PCI address, as libvirt calls them.
_ADDRESS = ("domain", "bus", "slot", "function")
#: What every profile has, or `diag.vm_file` has read.
_READ = {
    "hostdev", "controller", "video", "memballoon", "emulator", "channel", "serial", "console",
    "audio", "panic", "watchdog",
}  # fmt: skip


def read_domain(text: str, draft: Draft) -> None:
    """Fill a draft from a domain; `diag.vm_file` has parsed the text before."""
    from xml.etree.ElementTree import fromstring

    root = fromstring(text[text.index("<") :])
    domain = root if root.tag == "domain" else root.find(".//domain")
    if domain is None:  # pragma: no cover  (parse_vm_file has found it)
        return
    draft.name = (domain.findtext("name") or draft.name).strip()
    draft.set("machine", "uuid", (domain.findtext("uuid") or "").strip())
    draft.set("machine", "accel", "kvm" if domain.get("type", "kvm") == "kvm" else "tcg")
    draft.set("input", "tablet", False)
    draft.set("display", "show", "none")
    for read in (_memory, _cpu, _firmware, _clock, _smbios):
        read(domain, draft)
    for device in domain.findall("devices/*"):
        reader = _DEVICES.get(device.tag)
        if reader is not None:
            reader(device, draft)
        elif device.tag not in _READ:
            draft.leave(f"<{device.tag}>", "a profile has no word for it")
    for element in domain.findall("devices/hostdev"):
        _hostdev(element, draft)
    _overrides(domain, draft)
    words = [arg.get("value") or "" for arg in domain.iterfind(f"{_QEMU}commandline/{_QEMU}arg")]
    read_arguments(words, draft)
    if "network" not in draft.lists:
        draft.element("network", kind="none")


def _memory(domain: Element, draft: Draft) -> None:
    element = domain.find("memory")
    if element is not None:
        unit = _UNITS.get(element.get("unit", "KiB"), "")
        size = memory_size((element.text or "").strip(), unit) if unit else None
        draft.set("memory", "size", size)
        if size is None:
            draft.leave("<memory>", "no size that is known")
    page = domain.find("memoryBacking/hugepages/page")
    if domain.find("memoryBacking/hugepages") is not None:
        size = "2M"
        if page is not None:
            unit = _UNITS.get(page.get("unit", "KiB"), "K")
            size = memory_size(page.get("size", ""), unit)
        draft.set("memory", "hugepages", size)
    if domain.find("memoryBacking/locked") is not None:
        draft.set("memory", "lock", True)


def _whole(text: str) -> int:
    """A number of something there is at least one of."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 1


def _cpu(domain: Element, draft: Draft) -> None:
    said = (domain.findtext("vcpu") or "").strip()
    count = _whole(said)
    if said and str(count) != said:
        draft.leave(f"<vcpu> {said}", "no number of CPUs")
    cpu = domain.find("cpu")
    topology = None if cpu is None else cpu.find("topology")
    if topology is not None:
        for name in ("sockets", "cores", "threads"):
            draft.set("cpu", name, _whole(topology.get(name, "")))
    else:
        draft.set("cpu", "cores", count)
    if cpu is not None:
        model = (cpu.findtext("model") or "").strip()
        mode = cpu.get("mode", "custom")
        named = {"host-passthrough": "host", "host-model": "host", "maximum": "max"}
        draft.set("cpu", "model", named.get(mode) or model or None)
        for feature in cpu.findall("feature"):
            sign = "-" if feature.get("policy") in ("disable", "forbid") else "+"
            draft.add("cpu", "features", f"{sign}{feature.get('name', '')}")
    pins = {pin.get("vcpu", ""): pin.get("cpuset", "") for pin in domain.findall("cputune/vcpupin")}
    if pins:
        draft.set("cpu", "pin", [pins[number] for number in sorted(pins, key=_whole)])
    emulator = domain.find("cputune/emulatorpin")
    if emulator is not None:
        draft.set("cpu", "emulator", emulator.get("cpuset", ""))


def _firmware(domain: Element, draft: Draft) -> None:
    loader, system = domain.find("os/loader"), domain.find("os")
    auto = system is not None and system.get("firmware") == "efi"
    if loader is None and not auto:
        draft.set("firmware", "kind", "bios")
        return
    if loader is not None and loader.get("secure") == "yes":
        draft.set("firmware", "secure_boot", True)
    elif loader is not None and (loader.text or "").strip():
        path = (loader.text or "").strip()
        draft.leave(f"firmware {path}", "a profile finds its own through QEMU's descriptors")
    draft.set("firmware", "vars", (domain.findtext("os/nvram") or "").strip() or None)


def _clock(domain: Element, draft: Draft) -> None:
    clock = domain.find("clock")
    offset = "utc" if clock is None else clock.get("offset", "utc")
    draft.set("machine", "clock", "localtime" if offset == "localtime" else "utc")
    if clock is not None:
        timer = clock.find("timer[@name='hypervclock']")
        if timer is not None and timer.get("present") == "yes":
            draft.values.setdefault("hide", {}).setdefault("hyperv", []).append("time")


def _smbios(domain: Element, draft: Draft) -> None:
    for info in domain.findall("sysinfo"):
        if info.get("type") == "fwcfg":
            for entry in info.findall("entry"):
                draft.element("fw_cfg", name=entry.get("name"), file=entry.get("file"),
                              text=(entry.text or "").strip())  # fmt: skip
            continue
        for part, prefix in (("bios", "bios_"), ("system", ""), ("baseBoard", "board_")):
            for entry in info.findall(f"{part}/entry"):
                name = f"{prefix}{entry.get('name', '')}"
                if name != "uuid":
                    draft.set("smbios", name, entry.text or "")


def _disk(element: Element, draft: Draft) -> None:
    source, target, driver = (element.find(name) for name in ("source", "target", "driver"))
    path = ""
    if source is not None:
        path = source.get("file") or source.get("dev") or ""
    if not path:
        if element.get("device") != "cdrom":
            draft.leave("<disk>", "it is neither a file nor a device")
        return
    if element.get("device") == "cdrom":
        boot = element.find("boot")
        if boot is not None and boot.get("order") == "1":
            draft.set("media", "install", path)
        else:
            draft.add("media", "drivers", path)
        return
    bus = "virtio" if target is None else target.get("bus", "virtio")
    if bus not in ("virtio", "sata"):
        draft.leave(f"disk bus {bus}", "virtio is made")
        bus = "virtio"
    draft.element(
        "disk",
        path=path,
        bus=bus,
        format=None if driver is None else driver.get("type"),
        cache=None if driver is None or driver.get("cache") == "default" else driver.get("cache"),
        discard=True if driver is not None and driver.get("discard") == "unmap" else None,
        read_only=True if element.find("readonly") is not None else None,
        serial=(element.findtext("serial") or "").strip(),
    )


def _interface(element: Element, draft: Draft) -> None:
    kind = {"ethernet": "tap", "network": "user"}.get(element.get("type", ""), element.get("type"))
    source, target, mac = (element.find(name) for name in ("source", "target", "mac"))
    if element.get("type") == "network":
        name = "" if source is None else source.get("network", "")
        draft.leave(f"libvirt's network {name}", "user networking is made")
    found = element.find("model")
    named = "virtio" if found is None else found.get("type", "virtio")
    model = nic_model(named)
    if model is None:
        draft.leave(f"network card {named}", "virtio is made")
    interface = None
    if kind == "bridge":
        interface = None if source is None else source.get("bridge")
    elif kind == "tap":
        interface = None if target is None else target.get("dev")
    draft.element("network", kind=kind, model=model, interface=interface,
                  mac=None if mac is None else mac.get("address"))  # fmt: skip


def _graphics(element: Element, draft: Draft) -> None:
    kind = element.get("type", "")
    if kind not in ("spice", "vnc"):
        draft.leave(f"graphics {kind}", "spice, vnc and gtk are known")
        return
    draft.set("display", "show", kind)
    port = element.get("port", "-1")
    if is_number(port) and element.get("autoport") != "yes":
        draft.set("display", "port", int(port))
    gl = element.find("gl")
    if gl is not None and gl.get("enable") == "yes":
        draft.set("display", "gl", True)


def _input(element: Element, draft: Draft) -> None:
    kind, source = element.get("type"), element.find("source")
    if kind == "evdev" and source is not None:
        draft.add("input", "evdev", source.get("dev", ""))
    elif kind == "tablet":
        draft.set("input", "tablet", True)
    elif element.get("bus") != "ps2":
        draft.leave(f"{element.get('bus')} {kind}", "a tablet or evdev takes its place")


def _shmem(element: Element, draft: Draft) -> None:
    size = element.find("size")
    if size is not None:
        unit = _UNITS.get(size.get("unit", "M"), "M")
        draft.set("looking_glass", "size", memory_size((size.text or "").strip(), unit))
        draft.set("looking_glass", "path", f"/dev/shm/{element.get('name', '')}")


def _tpm(element: Element, draft: Draft) -> None:
    backend = element.find("backend")
    draft.set("tpm", "model", element.get("model", "tpm-crb").removeprefix("tpm-"))
    if backend is not None:
        kind = {"passthrough": "host"}.get(backend.get("type", ""), "emulator")
        draft.set("tpm", "kind", kind)
        draft.set("tpm", "version", backend.get("version"))


def _hostdev(element: Element, draft: Draft) -> None:
    """USB devices, and what `diag.vm_file` does not read of mediated ones."""
    if element.get("type") == "usb":
        ids = [element.find(f"source/{name}") for name in ("vendor", "product")]
        words = [("" if part is None else part.get("id", "")).removeprefix("0x") for part in ids]
        if all(words):
            draft.add("input", "usb", ":".join(words))
        else:
            draft.leave("a USB device by its address", "name it by its ids")
    elif element.get("type") == "mdev":
        address = element.find("source/address")
        draft.set("integrated", "mdev", "unknown")
        draft.leave("integrated.mdev", "the type of the mediated device: name it")
        draft.set("integrated", "uuid", None if address is None else address.get("uuid"))
        draft.set("integrated", "display", element.get("display", "off") == "on")
        draft.set("integrated", "ramfb", element.get("ramfb") == "on")
    elif element.get("type", "pci") == "pci":
        address = element.find("source/address")
        said = {} if address is None else address.attrib
        try:
            PciAddress(*(int(said.get(part, "0"), 0) for part in _ADDRESS))
        except ValueError:
            draft.leave("<hostdev>", "its address on the host cannot be read")
    else:
        draft.leave(f"<hostdev type={element.get('type')!r}>", "a profile has no word for it")


def _overrides(domain: Element, draft: Draft) -> None:
    """The mediated device's ROM and OpRegion, for which libvirt has no words."""
    aliases = [alias.get("name") for alias in domain.findall("devices/hostdev[@type='mdev']/alias")]
    said: dict[str, str] = {}
    for device in domain.iterfind(f"{_QEMU}override/{_QEMU}device"):
        if device.get("alias") in aliases:
            for item in device.iterfind(f"{_QEMU}frontend/{_QEMU}property"):
                said[item.get("name", "")] = item.get("value", "")
    if aliases:
        draft.set("integrated", "rom", said.get("romfile"))
        draft.set("integrated", "opregion", said.get("x-igd-opregion") == "true")


_DEVICES: dict[str, Callable[[Element, Draft], None]] = {
    "disk": _disk, "interface": _interface, "graphics": _graphics, "input": _input,
    "shmem": _shmem, "tpm": _tpm,
}  # fmt: skip
