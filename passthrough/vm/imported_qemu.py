"""A QEMU command line as a profile; the GPU and what hides the VM are read by `diag.vm_file`."""

from __future__ import annotations

import re
from collections.abc import Callable
from posixpath import basename

from diag.pci import PciAddress
from diag.qemu_line import parse_words
from passthrough.vm.accepted import parse_option
from passthrough.vm.draft import Draft

#: Options that have no value.
_FLAGS = {
    "nodefaults", "no-user-config", "enable-kvm", "usb", "no-hpet", "nographic", "daemonize",
    "S", "s", "snapshot", "no-reboot", "no-shutdown", "full-screen", "no-acpi", "no-fd-bootchk",
}  # fmt: skip
#: What every profile has, or `diag.vm_file` has read.
_READ = {"nodefaults", "no-user-config", "usb", "vga", "boot", "nographic"}
#: Devices that other keys bring along.
_COMES_ALONG = ("pcie-root-port", "ioh3420", "virtio-serial-pci", "virtio-serial",
                "virtserialport", "qemu-xhci", "nec-usb-xhci", "ich9-ahci", "ahci")  # fmt: skip
_DISKS = {"virtio-blk-pci": "virtio", "virtio-blk": "virtio", "nvme": "nvme", "ide-hd": "sata",
          "scsi-hd": "virtio"}  # fmt: skip
_VIDEOS = ("VGA", "qxl", "qxl-vga", "virtio-vga", "virtio-vga-gl", "virtio-gpu-pci", "ramfb")

#: Models of network cards by QEMU's and libvirt's names.
_NICS = {"virtio": "virtio", "virtio-net-pci": "virtio", "virtio-net": "virtio",
         "e1000e": "e1000e", "rtl8139": "rtl8139"}  # fmt: skip

Parts = dict[str, str]


class _Line:
    """A command line: options in order, and those that others name by id."""

    def __init__(self, words: list[str], draft: Draft) -> None:
        self.draft = draft
        self.options: list[tuple[str, str]] = []
        at = 0
        while at < len(words):
            name = words[at].lstrip("-")
            has_value = name not in _FLAGS and at + 1 < len(words)
            if not words[at].startswith("-"):
                draft.leave(words[at], "no option of QEMU's")
            elif has_value:
                self.options.append((name, words[at + 1]))
            else:
                self.options.append((name, ""))
            at += 2 if words[at].startswith("-") and has_value else 1
        self.drives = self._by_id("drive") | self._by_id("blockdev")
        self.netdevs = self._by_id("netdev", "kind")

    def _by_id(self, option: str, first: str = "file") -> dict[str, Parts]:
        found = {}
        for name, value in self.options:
            parts = parse_option(value, first)
            if name == option and "id" in parts:
                found[parts["id"]] = {**parts, "": value}  # as it was written
        return found


def read_words(text: str, draft: Draft) -> None:
    """Fill a draft from a command line; what it cannot say is left."""
    words = parse_words(text)
    names = {word.lstrip("-") for word in words if word.startswith("-")}
    draft.set("input", "tablet", False)
    draft.set("display", "show", "none" if "nographic" in names else "gtk")
    draft.set("machine", "clock", "utc")
    uefi = any("if=pflash" in word or "OVMF" in word or "edk2" in word for word in words)
    draft.set("firmware", "kind", "uefi" if uefi or "pflash" in names else "bios")
    read_arguments(words, draft)
    if "network" not in draft.lists and "nodefaults" in names:
        draft.element("network", kind="none")


def read_arguments(words: list[str], draft: Draft) -> None:
    """The same from words, as libvirt's ``qemu:commandline`` has them."""
    line = _Line(words, draft)
    for name, value in line.options:
        read = _READERS.get(name)
        if read is not None:
            read(line, value)
        elif name not in _READ:
            draft.leave(f"-{name} {value}".strip())


def _name(line: _Line, value: str) -> None:
    parts = parse_option(value, "guest")
    line.draft.name = parts.get("guest", line.draft.name)


def _machine(line: _Line, value: str) -> None:
    parts = parse_option(value, "type")
    accel = parts.get("accel", "")
    if accel:
        _accel(line, accel)
    known = ("type", "accel", "kernel_irqchip", "kernel-irqchip", "vmport", "smm", "usb",
             "memory-backend", "dump-guest-core", "mem-merge", "hpet")  # fmt: skip
    for name, word in parts.items():
        if name not in known:
            line.draft.leave(f"-machine {name}={word}")


def _accel(line: _Line, value: str) -> None:
    name = value.partition(",")[0].partition(":")[0]
    line.draft.set("machine", "accel", "tcg" if name == "tcg" else "kvm")


def _cpu(line: _Line, value: str) -> None:
    parts = value.split(",")
    line.draft.set("cpu", "model", parts[0])
    for part in parts[1:]:
        name, _, word = part.partition("=")
        flat = name.lstrip("+-").replace("_", "-")
        if flat.startswith("hv-") or flat == "kvm":
            continue
        sign = "-" if name.startswith("-") or word in ("off", "false", "no") else "+"
        if word in ("", "on", "off", "true", "false", "yes", "no"):
            line.draft.add("cpu", "features", sign + name.lstrip("+-"))
        else:
            line.draft.leave(f"-cpu {part}")


def _smp(line: _Line, value: str) -> None:
    parts = parse_option(value, "cpus")
    numbers = {name: int(word) for name, word in parts.items() if is_number(word)}
    for name in parts.keys() & {"cpus", "sockets", "cores", "threads", "maxcpus"} - numbers.keys():
        line.draft.leave(f"-smp {name}={parts[name]}")
    sockets, threads = numbers.get("sockets", 1), numbers.get("threads", 1)
    cores = numbers.get("cores", 0)
    cpus = numbers.get("cpus", numbers.get("maxcpus", sockets * threads * max(cores, 1)))
    line.draft.set("cpu", "sockets", sockets)
    line.draft.set("cpu", "threads", threads)
    line.draft.set("cpu", "cores", cores or max(1, cpus // max(1, sockets * threads)))


def _memory(line: _Line, value: str) -> None:
    parts = parse_option(value, "size")
    size = memory_size(parts.get("size", ""), "M")
    if size:
        line.draft.set("memory", "size", size)
    else:
        line.draft.leave(f"-m {value}")


def is_number(text: str) -> bool:
    """Whether it is a number of which there may be so many: Python reads no endless ones."""
    return text.isascii() and text.isdecimal() and len(text) < 9


def memory_size(text: str, unit: str) -> str | None:
    """A size as a profile has it; None where it is none. `unit` counts where it has none."""
    found = re.fullmatch(r"(\d{1,12})\s*([KMGT]?)(?:i?B)?", text.strip(), re.ASCII | re.IGNORECASE)
    if found is None:
        return None
    number = int(found[1]) << {"K": 10, "M": 20, "G": 30, "T": 40}[(found[2] or unit).upper()]
    return f"{number >> 30}G" if number and number % (1 << 30) == 0 else f"{number >> 20}M"


def _object(line: _Line, value: str) -> None:
    parts, draft = parse_option(value, "kind"), line.draft
    kind, path = parts.get("kind", ""), parts.get("mem-path", "")
    if kind == "input-linux" and "evdev" in parts:
        draft.add("input", "evdev", parts["evdev"])
    elif parts.get("hugetlb") == "on" or "hugepages" in path:
        draft.set("memory", "hugepages", parts.get("hugetlbsize", "2M"))
    elif kind == "memory-backend-file" and _is_shared(line, parts):
        draft.set("looking_glass", "size", memory_size(parts.get("size", ""), "M"))
        draft.set("looking_glass", "path", path)
    else:
        draft.leave(f"-object {value}")


def _is_shared(line: _Line, parts: Parts) -> bool:
    devices = [parse_option(value) for name, value in line.options if name == "device"]
    return any(
        device.get("driver") == "ivshmem-plain" and device.get("memdev") == parts.get("id")
        for device in devices
    )


def _mem_path(line: _Line, value: str) -> None:
    if "hugepages" in value:
        line.draft.set("memory", "hugepages", "2M")
    else:
        line.draft.leave(f"-mem-path {value}")


def _overcommit(line: _Line, value: str) -> None:
    parts = parse_option(value)
    if parts.get("mem-lock") == "on":
        line.draft.set("memory", "lock", True)


def _drive(line: _Line, value: str) -> None:
    parts, draft = parse_option(value, "file"), line.draft
    kind, path = parts.get("if", "ide"), parts.get("file", "")
    if kind == "pflash":
        variables = parts.get("unit") == "1" or parts.get("readonly") not in ("on", "true", "")
        if variables:
            draft.set("firmware", "vars", path)
        else:
            draft.leave(f"firmware {path}", "a profile finds its own through QEMU's descriptors")
    elif kind == "none":
        return  # its device says what it is
    elif parts.get("media") == "cdrom":
        draft.add("media", "drivers", path)
    else:
        bus = "virtio" if kind == "virtio" else "sata"
        _disk(draft, path, bus, parts, "")


def _disk(draft: Draft, path: str, bus: str, parts: Parts, serial: str) -> None:
    draft.element(
        "disk",
        path=path,
        bus=bus,
        format=parts.get("format"),
        cache=parts.get("cache"),
        discard=True if parts.get("discard") in ("unmap", "on") else None,
        read_only=True if parts.get("readonly") == "on" else None,
        serial=serial,
    )


def _device(line: _Line, value: str) -> None:
    parts, draft = parse_option(value), line.draft
    driver = parts.get("driver", "")
    drive = line.drives.get(parts.get("drive", ""))
    if driver in _DISKS and drive is not None:
        path = drive.get("file", drive.get("filename", ""))
        made = parts.get("serial", "")
        _disk(draft, path, _DISKS[driver], drive, "" if made == parts.get("id") else made)
    elif driver in ("ide-cd", "scsi-cd") and drive is not None:
        path = drive.get("file", "")
        if parts.get("bootindex") == "0":
            draft.set("media", "install", path)
        else:
            draft.add("media", "drivers", path)
    elif parts.get("netdev") in line.netdevs:
        _card(line, parts, line.netdevs[parts["netdev"]])
    elif driver.startswith("vfio-pci"):
        _vfio(draft, parts)
    elif driver == "usb-tablet":
        draft.set("input", "tablet", True)
    elif driver == "usb-host":
        ids = [parts.get(name, "").removeprefix("0x") for name in ("vendorid", "productid")]
        port = f"{parts.get('hostbus')}-{parts.get('hostport')}"
        draft.add("input", "usb", ":".join(ids) if all(ids) else port)
    elif driver in ("tpm-crb", "tpm-tis"):
        draft.set("tpm", "model", driver.removeprefix("tpm-"))
    elif driver in _VIDEOS or driver in _COMES_ALONG or driver == "ivshmem-plain":
        return
    else:
        draft.leave(f"-device {value}")


def _vfio(draft: Draft, parts: Parts) -> None:
    """What `diag.vm_file` does not read of a passed function."""
    if parts.get("x-vga") == "on":
        draft.set("gpu", "x_vga", True)
    if "mdev" in parts.get("sysfsdev", ""):
        draft.set("integrated", "mdev", "unknown")
        draft.leave("integrated.mdev", "the type of the mediated device: name it")
        draft.set("integrated", "uuid", basename(parts["sysfsdev"].rstrip("/")))
        draft.set("integrated", "opregion", parts.get("x-igd-opregion") == "on")
        draft.set("integrated", "display", parts.get("display") == "on")
        draft.set("integrated", "ramfb", parts.get("ramfb") == "on")
        return
    place = parts.get("host") or basename(parts.get("sysfsdev", "").rstrip("/"))
    try:
        PciAddress.parse(place)
    except ValueError:
        draft.leave(f"-device vfio-pci,host={place}", "its address on the host cannot be read")


def nic_model(name: str) -> str | None:
    """A network card's model as a profile has it; None where it has none such."""
    return _NICS.get(name)


def _card(line: _Line, device: Parts, netdev: Parts) -> None:
    kind = netdev.get("kind", "")
    model = nic_model(device.get("driver", ""))
    if model is None:
        line.draft.leave(f"network card {device.get('driver')}", "virtio is made")
    rules = re.findall(r"hostfwd=(tcp|udp):[^:,]*:(\d+)-[^:,]*:(\d+)", netdev[""])
    forward = [":".join(rule) for rule in rules]
    interface = {"tap": netdev.get("ifname"), "bridge": netdev.get("br")}.get(kind)
    line.draft.element(
        "network",
        kind=kind,
        model=model,
        mac=device.get("mac"),
        interface=interface,
        socket=netdev.get("sock") if kind == "vde" else None,
        **({"forward": forward} if forward else {}),
    )


def _acpitable(line: _Line, value: str) -> None:
    path = parse_option(value, "file").get("file", "")
    name = basename(path)
    if name == "battery.aml":
        line.draft.set("acpi", "battery", True)
    elif re.fullmatch(r"vbios\d\d\.aml", name):
        line.draft.set("acpi", "vbios", True)
    else:
        line.draft.add("acpi", "tables", path)


def _smbios(line: _Line, value: str) -> None:
    parts, draft = parse_option(value), line.draft
    names = {
        "0": {"vendor": "bios_vendor", "version": "bios_version"},
        "1": {n: n for n in ("manufacturer", "product", "version", "serial", "sku", "family")},
        "2": {"manufacturer": "board_manufacturer", "product": "board_product"},
    }
    if basename(parts.get("file", "")) == "chassis.bin":
        draft.set("acpi", "chassis", "notebook")
        return
    known = names.get(parts.get("type", ""), {})
    for name, word in parts.items():
        if name in known:
            draft.set("smbios", known[name], word)
        elif name != "type":
            draft.leave(f"-smbios {name}={word}")


def _fw_cfg(line: _Line, value: str) -> None:
    from romkit.acpi.vbios import FW_CFG_NAME

    parts = parse_option(value, "name")
    if parts.get("name") == FW_CFG_NAME:
        line.draft.set("acpi", "vbios_by", "fw_cfg")
        return
    line.draft.element("fw_cfg", name=parts.get("name"), file=parts.get("file"),
                       text=parts.get("string"))  # fmt: skip


def _display(line: _Line, value: str) -> None:
    parts, draft = parse_option(value, "kind"), line.draft
    if parts.get("kind") == "gtk":
        draft.set("display", "show", "gtk")
        draft.set("display", "gl", parts.get("gl") == "on")
    elif parts.get("kind") == "none":
        draft.set("display", "show", "none")
    else:
        draft.leave(f"-display {value}")


def _spice(line: _Line, value: str) -> None:
    parts, draft = parse_option(value), line.draft
    draft.set("display", "show", "spice")
    if is_number(parts.get("port", "")):
        draft.set("display", "port", int(parts["port"]))
    if parts.get("gl") == "on":
        draft.set("display", "gl", True)


def _vnc(line: _Line, value: str) -> None:
    number = value.partition(",")[0].rpartition(":")[2]
    line.draft.set("display", "show", "vnc")
    if number.isdecimal() and len(number) < 5:
        line.draft.set("display", "port", 5900 + int(number))


def _net(line: _Line, value: str) -> None:
    """The old form: a card, or what it is connected to."""
    if value == "none":
        line.draft.element("network", kind="none")
    elif value not in ("nic", "user"):
        line.draft.leave(f"-net {value}")


def _tpmdev(line: _Line, value: str) -> None:
    kind = parse_option(value, "kind").get("kind")
    line.draft.set("tpm", "kind", "host" if kind == "passthrough" else "emulator")


def _rtc(line: _Line, value: str) -> None:
    base = parse_option(value, "base").get("base", "utc")
    line.draft.set("machine", "clock", base if base == "localtime" else "utc")


def _uuid(line: _Line, value: str) -> None:
    line.draft.set("machine", "uuid", value)


def _cdrom(line: _Line, value: str) -> None:
    line.draft.add("media", "drivers", value)


def _hard_disk(line: _Line, value: str) -> None:
    _disk(line.draft, value, "sata", {}, "")


def _kvm(line: _Line, _: str) -> None:
    line.draft.set("machine", "accel", "kvm")


def _chardev(line: _Line, value: str) -> None:
    if not value.startswith(("spicevmc", "socket,id=tpm")):
        line.draft.leave(f"-chardev {value}")


def _global(line: _Line, value: str) -> None:
    if "cfi.pflash01" in value:
        line.draft.set("firmware", "secure_boot", True)
    else:
        line.draft.leave(f"-global {value}")


def _named(line: _Line, value: str) -> None:
    """What others name by id; without one it stands alone."""
    if "id" not in parse_option(value):
        line.draft.leave(f"a network or disk without id: {value}")


_READERS: dict[str, Callable[[_Line, str], None]] = {
    "name": _name, "uuid": _uuid, "machine": _machine, "M": _machine, "accel": _accel,
    "enable-kvm": _kvm, "cpu": _cpu, "smp": _smp, "m": _memory, "object": _object,
    "mem-path": _mem_path, "overcommit": _overcommit, "drive": _drive, "device": _device,
    "netdev": _named, "net": _net, "acpitable": _acpitable, "smbios": _smbios, "fw_cfg": _fw_cfg,
    "display": _display, "spice": _spice, "vnc": _vnc, "tpmdev": _tpmdev, "rtc": _rtc,
    "cdrom": _cdrom, "hda": _hard_disk, "hdb": _hard_disk, "chardev": _chardev,
    "global": _global, "blockdev": _named,
}  # fmt: skip
