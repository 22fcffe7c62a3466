"""A guest as libvirt's domain XML (https://libvirt.org/formatdomain.html).

What libvirt has no words for stands in ``qemu:commandline``, and ids in ``qemu:override``, whose
numbers are decimal (libvirt 8.2). libvirt's security drivers do not look there: `hidden_files` are
what AppArmor has to be told of.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

from diag.pci import PciAddress
from passthrough.vm.guest import Card, Drive, Guest, OwnFile, Passed, is_plain_shm
from passthrough.vm.libvirt_qemu import add_qemu, hidden_files
from passthrough.vm.qemu import NICS, SPINLOCKS, is_keyboard, smbios_fields

NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
#: The words of `qemu.smbios_fields` in libvirt: structure → element.
_SMBIOS = {0: "bios", 1: "system", 2: "baseBoard"}
_VIDEOS = {"qxl": "qxl", "virtio": "virtio", "std": "vga", "ramfb": "ramfb", "none": "none"}


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain of libvirt's.

    Attributes:
        xml: its XML.
        hidden_files: files that QEMU opens and libvirt does not know of, as AppArmor's rules.
        files: what must be made before.
        notes: what its owner should know.
    """

    xml: str
    hidden_files: tuple[str, ...]
    files: tuple[OwnFile, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return self.xml


def build_domain(guest: Guest) -> Domain:
    """The domain of a guest; to be defined by ``virsh define``."""
    notes = [*guest.notes]
    if guest.profile.display.show == "gtk":
        notes.append("libvirt has no GTK window: it is SPICE there")
    if guest.profile.qemu.arguments:
        notes.append("the profile's own arguments for QEMU stand in qemu:commandline")
    register_namespace("qemu", NAMESPACE)
    domain = Element("domain", type=_type(guest))
    for add in (_general, _system, _features, _processor, _clock, _devices):
        add(domain, guest)
    add_qemu(domain, guest)
    indent(domain)
    files = hidden_files(guest)
    return Domain(tostring(domain, "unicode") + "\n", files, guest.files, tuple(notes))


def _type(guest: Guest) -> str:
    return "kvm" if guest.profile.machine.accel == "kvm" else "qemu"


def put(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    """A new element inside another."""
    made = SubElement(parent, tag, attributes)
    if text:
        made.text = text
    return made


def _on(value: bool) -> str:
    return "on" if value else "off"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _general(domain: Element, guest: Guest) -> None:
    profile = guest.profile
    put(domain, "name", profile.name)
    put(domain, "uuid", profile.uuid)
    put(domain, "memory", str(profile.memory.size >> 20), unit="MiB")
    if profile.memory.hugepages != "none" or profile.memory.lock:
        backing = put(domain, "memoryBacking")
        if profile.memory.hugepages != "none":
            unit = {"2M": ("2", "MiB"), "1G": ("1", "GiB")}[profile.memory.hugepages]
            put(put(backing, "hugepages"), "page", size=unit[0], unit=unit[1])
        if profile.memory.lock:
            put(backing, "locked")
    put(domain, "vcpu", str(profile.cpus), placement="static")
    if profile.cpu.pin or profile.cpu.emulator:
        tune = put(domain, "cputune")
        for number, cpus in enumerate(profile.cpu.pin):
            put(tune, "vcpupin", vcpu=str(number), cpuset=_cpus(cpus))
        if profile.cpu.emulator:
            put(tune, "emulatorpin", cpuset=_cpus(profile.cpu.emulator))


def _cpus(cpus: tuple[int, ...]) -> str:
    return ",".join(str(cpu) for cpu in cpus)


def _system(domain: Element, guest: Guest) -> None:
    profile, flash = guest.profile, guest.flash
    sysinfo = list(smbios_fields(guest))
    if sysinfo:
        info = put(domain, "sysinfo", type="smbios")
        for kind, fields in sysinfo:
            part = put(info, _SMBIOS[kind])
            for name, value in fields:
                put(part, "entry", str(value), name=str(name))
    if profile.fw_cfg:
        info = put(domain, "sysinfo", type="fwcfg")
        for entry in profile.fw_cfg:
            where = {"file": profile.path(entry.file)} if entry.file else {}
            put(info, "entry", entry.text, name=entry.name, **where)
    system = put(domain, "os")
    put(system, "type", "hvm", arch="x86_64", machine=profile.machine.type)
    if flash is not None:
        formats = {} if flash.code_format == "raw" else {"format": flash.code_format}
        put(system, "loader", flash.code, readonly="yes", secure=_yes(flash.needs_smm),
            type="pflash", **formats)  # fmt: skip
        formats = {} if flash.template_format == "raw" else {"format": flash.template_format}
        put(system, "nvram", profile.vars, template=flash.template, **formats)
    if sysinfo:
        put(system, "smbios", mode="sysinfo")


def _features(domain: Element, guest: Guest) -> None:
    hide, kvm = guest.profile.hide, guest.profile.machine.accel == "kvm"
    features = put(domain, "features")
    put(features, "acpi")
    put(features, "apic")
    if hide.hyperv or hide.vendor_id:
        hyperv = put(features, "hyperv")
        for feature in hide.hyperv:
            if feature == "spinlocks":
                put(hyperv, feature, state="on", retries=str(int(SPINLOCKS, 16)))
            elif feature != "time":  # a timer, in libvirt
                put(hyperv, feature, state="on")
        if hide.vendor_id:
            put(hyperv, "vendor_id", state="on", value=hide.vendor_id)
    if hide.kvm and kvm:
        put(put(features, "kvm"), "hidden", state="on")
    put(features, "vmport", state="off")
    if kvm:
        driver = {"kernel": "kvm", "split": "qemu"}[guest.profile.machine.irqchip]
        put(features, "ioapic", driver=driver)
    if guest.flash is not None and guest.flash.needs_smm:
        put(features, "smm", state="on")


def _processor(domain: Element, guest: Guest) -> None:
    cpu = guest.profile.cpu
    if cpu.model == "host":
        element = put(domain, "cpu", mode="host-passthrough", check="none", migratable="off")
    elif cpu.model == "max":
        element = put(domain, "cpu", mode="maximum", check="none")
    else:
        element = put(domain, "cpu", mode="custom", match="exact", check="none")
        put(element, "model", cpu.model, fallback="forbid")
    put(element, "topology", sockets=str(cpu.sockets), dies="1", cores=str(cpu.cores),
        threads=str(cpu.threads))  # fmt: skip
    for feature in cpu.features:
        policy = {"+": "force", "-": "disable"}[feature[0]]
        put(element, "feature", policy=policy, name=feature[1:])


def _clock(domain: Element, guest: Guest) -> None:
    clock = put(domain, "clock", offset=guest.profile.machine.clock)
    put(clock, "timer", name="rtc", tickpolicy="catchup")
    if "time" in guest.profile.hide.hyperv:
        put(clock, "timer", name="hypervclock", present="yes")
    put(domain, "on_poweroff", "destroy")
    put(domain, "on_reboot", "restart")
    put(domain, "on_crash", "destroy")


def _devices(domain: Element, guest: Guest) -> None:
    devices = put(domain, "devices")
    put(devices, "emulator", _emulator(guest.program))
    for drive in guest.drives:
        if drive.bus != "nvme":
            _disk(devices, drive)
    _controllers(devices, guest)
    for passed, name in ((guest.gpu, "ua-gpu"), (guest.audio, "ua-gpu-audio")):
        if passed is not None:
            _hostdev(devices, passed, name)
    _mdev(devices, guest)
    for number, card in enumerate(guest.cards):
        if not card.hidden:
            _interface(devices, card, number)
    _input(devices, guest)
    _graphics(devices, guest)
    shared = guest.profile.looking_glass
    if shared.size and is_plain_shm(shared.path):
        memory = put(devices, "shmem", name=shared.path.removeprefix("/dev/shm/"))
        put(memory, "model", type="ivshmem-plain")
        put(memory, "size", str(shared.size >> 20), unit="M")
        _address(memory, guest.slots["shared"])
    _tpm(devices, guest)
    put(devices, "memballoon", model="none")


def _emulator(program: str) -> str:
    return program if program.startswith("/") else f"/usr/bin/{program}"


def _address(parent: Element, place: PciAddress, *, multifunction: bool = False) -> None:
    more = {"multifunction": "on"} if multifunction else {}
    put(parent, "address", type="pci", domain="0x0000", bus=f"{place.bus:#04x}",
        slot=f"{place.device:#04x}", function=f"{place.function:#x}", **more)  # fmt: skip


def _disk(devices: Element, drive: Drive) -> None:
    disk = drive.disk
    cdrom = disk is None
    kind = "block" if drive.is_device else "file"
    element = put(devices, "disk", type=kind, device="cdrom" if cdrom else "disk")
    driver = put(element, "driver", name="qemu", type=drive.format)
    if disk is not None:
        driver.set("cache", disk.cache)
        driver.set("discard", "unmap" if disk.discard else "ignore")
    put(element, "source", **{"dev" if drive.is_device else "file": drive.path})
    if drive.unit is not None:
        put(element, "target", dev=f"sd{'abcdef'[drive.unit]}", bus="sata")
    else:
        number = int(drive.name.removeprefix("disk"))
        put(element, "target", dev=f"vd{_letters(number)}", bus="virtio")
    if cdrom or (disk is not None and disk.read_only):
        put(element, "readonly")
    if disk is not None and disk.serial:
        put(element, "serial", disk.serial)
    if drive.boot is not None:
        put(element, "boot", order=str(drive.boot + 1))
    if drive.place is not None:
        _address(element, drive.place)
    else:
        put(element, "address", type="drive", controller="0", bus="0", target="0",
            unit=str(drive.unit))  # fmt: skip


def _letters(number: int) -> str:
    """a to z, then aa: as the kernel names disks."""
    return "abcdefghijklmnopqrstuvwxyz"[number] if number < 26 else f"a{_letters(number - 26)}"


def _controllers(devices: Element, guest: Guest) -> None:
    put(devices, "controller", type="pci", index="0", model="pcie-root")
    if guest.gpu is not None and guest.gpu.place.bus:
        section = guest.profile.gpu
        port = put(devices, "controller", type="pci", index="1", model="pcie-root-port")
        put(port, "model", name="pcie-root-port")
        put(port, "target", chassis="1", port="0x8", hotplug=_on(section.hotplug))
        _address(port, section.port)
    if guest.needs_usb:
        usb = put(devices, "controller", type="usb", index="0", model="qemu-xhci")
        _address(usb, guest.slots["usb"])
    else:
        put(devices, "controller", type="usb", index="0", model="none")
    if "serial" in guest.slots:
        _address(put(devices, "controller", type="virtio-serial", index="0"), guest.slots["serial"])


def _hostdev(devices: Element, passed: Passed, name: str) -> None:
    element = put(devices, "hostdev", mode="subsystem", type="pci", managed="no")
    source = passed.source
    put(put(element, "source"), "address", domain=f"{source.domain:#06x}",
        bus=f"{source.bus:#04x}", slot=f"{source.device:#04x}",
        function=f"{source.function:#x}")  # fmt: skip
    put(element, "alias", name=name)
    if passed.rom or not passed.rom_bar:
        rom = put(element, "rom", bar=_on(passed.rom_bar))
        if passed.rom:
            rom.set("file", passed.rom)
    _address(element, passed.place, multifunction=passed.multifunction)


def _mdev(devices: Element, guest: Guest) -> None:
    part = guest.profile.integrated
    if not part.mdev:
        return
    element = put(devices, "hostdev", mode="subsystem", type="mdev", model="vfio-pci",
                  display=_on(part.display))  # fmt: skip
    if part.ramfb:
        element.set("ramfb", "on")
    put(put(element, "source"), "address", uuid=guest.profile.mdev_uuid)
    put(element, "alias", name="ua-integrated")
    _address(element, part.guest_address)


def _interface(devices: Element, card: Card, number: int) -> None:
    network = card.network
    kind = {"user": "user", "tap": "ethernet", "bridge": "bridge"}[network.kind]
    element = put(devices, "interface", type=kind)
    put(element, "mac", address=card.mac)
    if kind == "bridge":
        put(element, "source", bridge=network.interface)
    elif kind == "ethernet":
        put(element, "target", dev=network.interface, managed="no")
    put(element, "model", type=NICS[network.model].removesuffix("-net-pci"))
    put(element, "alias", name=f"ua-network{number}")
    _address(element, card.place)


def _input(devices: Element, guest: Guest) -> None:
    section = guest.profile.input
    if section.tablet:
        put(devices, "input", type="tablet", bus="usb")
    for path in section.evdev:
        element = put(devices, "input", type="evdev")
        source = put(element, "source", dev=path)
        if is_keyboard(path):
            source.set("grab", "all")
            source.set("repeat", "on")
    for device in section.usb:
        if ":" in device:
            vendor, product = device.split(":")
            element = put(devices, "hostdev", mode="subsystem", type="usb", managed="yes")
            ids = put(element, "source")
            put(ids, "vendor", id=f"0x{vendor}")
            put(ids, "product", id=f"0x{product}")


def _graphics(devices: Element, guest: Guest) -> None:
    section = guest.profile.display
    if section.show in ("spice", "gtk"):
        graphics = put(devices, "graphics", type="spice")
        if section.gl:
            put(graphics, "listen", type="none")
        else:
            graphics.set("port", str(section.port))
            graphics.set("autoport", "no")
            put(graphics, "listen", type="address", address="127.0.0.1")
        put(graphics, "gl", enable=_yes(section.gl))
        if "serial" in guest.slots:
            channel = put(devices, "channel", type="spicevmc")
            put(channel, "target", type="virtio", name="com.redhat.spice.0")
    elif section.show == "vnc":
        graphics = put(devices, "graphics", type="vnc", port=str(section.port), autoport="no")
        put(graphics, "listen", type="address", address="127.0.0.1")
    video = put(devices, "video")
    model = put(video, "model", type=_VIDEOS[section.video])
    if section.video == "virtio" and section.gl:
        put(model, "acceleration", accel3d="yes")
    if "video" in guest.slots:
        model.set("primary", "yes")
        _address(video, guest.slots["video"])


def _tpm(devices: Element, guest: Guest) -> None:
    tpm = guest.profile.tpm
    if tpm.kind == "none":
        return
    element = put(devices, "tpm", model=f"tpm-{tpm.model}")
    if tpm.kind == "emulator":
        # A transient domain's TPM would forget at its end, and with it what BitLocker has sealed.
        put(element, "backend", type="emulator", version=tpm.version, persistent_state="yes")
    else:
        put(put(element, "backend", type="passthrough"), "device", path="/dev/tpm0")
