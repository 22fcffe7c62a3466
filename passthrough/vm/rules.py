"""Rules between the keys of a profile: what fits its kind and yet cannot be."""

from __future__ import annotations

from collections.abc import Iterator

from passthrough.vm.machine_sections import HYPERV_NEEDS
from passthrough.vm.problem import Problem
from passthrough.vm.profile import Profile

#: SATA ports of a q35 (QEMU, hw/ide/ich.c).
SATA_PORTS = 6
#: Bytes of a socket's path (unix(7): 108 with the closing NUL).
SOCKET_PATH = 107
_OVMF_KEYS = ("secure_boot", "code", "template", "vars", "reset")


def broken_rules(profile: Profile) -> Iterator[Problem]:
    """All that is wrong."""
    for rule in (
        _cpu,
        _hide,
        _firmware,
        _disks,
        _gpu,
        _display,
        _acpi,
        _networks,
        _tpm,
        _sockets,
        _fw_cfg,
    ):
        yield from rule(profile)


def _cpu(profile: Profile) -> Iterator[Problem]:
    cpu = profile.cpu
    if profile.cpus > 288:
        why = f"{profile.cpus} CPUs: sockets x cores x threads"
        yield profile.problem(("cpu", "cores"), why, "288 in all, as QEMU's q35")
    if cpu.pin and len(cpu.pin) != profile.cpus:
        why = f"{len(cpu.pin)} entries, and the guest has {profile.cpus} CPUs"
        yield profile.problem(("cpu", "pin"), why, "one entry for each")
    for number, cpus in enumerate(cpu.pin):
        if not cpus:
            yield profile.problem(("cpu", "pin", number), "no CPU", "CPUs of the host")
    if cpu.isolate and not cpu.pin:
        yield profile.problem(("cpu", "isolate"), "nothing is pinned", "true with `cpu.pin` only")
    if cpu.model == "host" and profile.machine.accel == "tcg":
        why = "`host` needs KVM, and `machine.accel` is tcg"
        yield profile.problem(("cpu", "model"), why, "`max`, or a named model")


def _hide(profile: Profile) -> Iterator[Problem]:
    hide = profile.hide
    if hide.vendor_id and not hide.hyperv:
        why = "without any Hyper-V feature the vendor id is not shown"
        yield profile.problem(("hide", "hyperv"), why, 'at least one feature, or vendor_id = ""')
    if "vpindex" in hide.hyperv and profile.machine.accel == "tcg":
        why = "`vpindex` needs KVM, and `machine.accel` is tcg"
        yield profile.problem(("hide", "hyperv"), why, "the other features")
    for feature in hide.hyperv:
        missing = [need for need in HYPERV_NEEDS.get(feature, ()) if need not in hide.hyperv]
        if missing:
            why = f"`{feature}` needs {', '.join(missing)}"
            yield profile.problem(("hide", "hyperv"), why, "a feature with those that it needs")


def _firmware(profile: Profile) -> Iterator[Problem]:
    firmware = profile.firmware
    if firmware.kind == "bios":
        for name in _OVMF_KEYS:
            if getattr(firmware, name):
                why = 'SeaBIOS has no such thing (`kind` is "bios")'
                yield profile.problem(("firmware", name), why, 'only with kind = "uefi"')
    elif bool(firmware.code) != bool(firmware.template):
        given, lacks = ("code", "template") if firmware.code else ("template", "code")
        why = f"`{lacks}` is missing: an image and its variables belong together"
        yield profile.problem(("firmware", given), why, "both, or neither")
    if firmware.code and firmware.secure_boot:
        why = "with `code` nobody knows whether it has Secure Boot"
        yield profile.problem(("firmware", "secure_boot"), why, "false, or no `code`")
    if firmware.kind == "uefi" and profile.gpu.x_vga:
        why = "UEFI does not use the VGA ranges"
        yield profile.problem(("gpu", "x_vga"), why, 'true only with firmware.kind = "bios"')


def _disks(profile: Profile) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for number, disk in enumerate(profile.disk):
        here = ("disk", number)
        if bool(disk.path) == bool(disk.volume):
            why = "both are given" if disk.path else "neither is given"
            yield profile.problem((*here, "path"), why, "one of `path` and `volume`")
            continue
        place = profile.path(disk.path) or disk.volume
        if place in seen:
            why = f"{place} is disk {seen[place] + 1} already"
            yield profile.problem((*here, "path" if disk.path else "volume"), why, "each once")
        seen.setdefault(place, number)
        if disk.bus == "nvme" and not disk.serial:
            continue  # one is made
        if disk.read_only and disk.bus in ("sata", "nvme"):
            why = f"QEMU's {disk.bus} disks can be written to"
            yield profile.problem((*here, "read_only"), why, "true with virtio only")
    on_sata = sum(disk.bus == "sata" for disk in profile.disk)
    drives = on_sata + len(profile.media.drivers) + bool(profile.media.install)
    if drives > SATA_PORTS:
        at = ("media", "drivers") if profile.media.drivers else ("disk",)
        why = f"{drives} SATA disks and CD-ROM drives"
        yield profile.problem(at, why, f"{SATA_PORTS}, as many as a q35 has ports")


def _gpu(profile: Profile) -> Iterator[Problem]:
    gpu = profile.gpu
    place = gpu.guest_address
    if place.function:
        why = "the GPU is function 0 of its card"
        yield profile.problem(("gpu", "guest_address"), why, "a place with function 0")
    if place.bus not in (0, 1):
        why = f"there is no bus {place.bus:02x}: the only root port leads to bus 01"
        yield profile.problem(("gpu", "guest_address"), why, "bus 01, or 00 without a port")
    elif place.bus == 1 and place.device:
        why = "behind a root port there is slot 00 only"
        yield profile.problem(("gpu", "guest_address"), why, '"01:00.0"')
    if gpu.port.bus:
        yield profile.problem(("gpu", "port"), "the port stands on bus 00", '"00:01.0"')
    if gpu.address is None:
        return
    if gpu.audio_address == gpu.address:
        yield profile.problem(("gpu", "audio_address"), "it is the GPU's", "the audio function's")
    if profile.machine.accel == "tcg":
        why = "VFIO needs KVM"
        yield profile.problem(("machine", "accel"), why, "`kvm` where a GPU is passed")


def _display(profile: Profile) -> Iterator[Problem]:
    display, part = profile.display, profile.integrated
    if part.mdev and part.ramfb and not part.display:
        why = "a picture before the driver starts needs `display`"
        yield profile.problem(("integrated", "ramfb"), why, "true with display = true only")
    if part.mdev and part.display and display.show == "gtk" and not display.gl:
        why = "GVT-g's picture needs OpenGL"
        yield profile.problem(("display", "gl"), why, "true with integrated.display")
    if display.gl and display.show in ("none", "vnc"):
        why = f"`{display.show}` shows no picture of OpenGL's"
        yield profile.problem(("display", "gl"), why, "true with `spice` or `gtk`")


def _acpi(profile: Profile) -> Iterator[Problem]:
    acpi, gpu = profile.acpi, profile.gpu
    if acpi.vbios and not (acpi.vbios_rom or gpu.rom):
        why = "there is no ROM to hand out"
        yield profile.problem(("acpi", "vbios"), why, "true with `gpu.rom` or `acpi.vbios_rom`")
    if acpi.vbios and gpu.address is None:
        why = "there is no GPU that could ask for it"
        yield profile.problem(("acpi", "vbios"), why, "true with `gpu.address`")
    for number, path in enumerate(acpi.tables):
        if ":" in profile.path(path):
            why = "QEMU takes a colon for the end of a table's name"
            yield profile.problem(("acpi", "tables", number), why, "a path without a colon")
    if (acpi.battery or acpi.vbios) and ":" in profile.own_folder:
        why = f"tables are made in {profile.own_folder}, and QEMU takes no colon there"
        yield profile.problem(("acpi",), why, "a profile in a folder without a colon")


def _networks(profile: Profile) -> Iterator[Problem]:
    macs: set[str] = set()
    for number, network in enumerate(profile.network):
        here = ("network", number)
        if network.kind in ("tap", "bridge") and not network.interface:
            why = f"`{network.kind}` needs its interface"
            yield profile.problem((*here, "interface"), why, 'a name like "tap0" or "br0"')
        for name, kinds in (("interface", ("tap", "bridge")), ("forward", ("user",))):
            if getattr(network, name) and network.kind not in kinds:
                why = f"`{network.kind}` has none"
                yield profile.problem((*here, name), why, f"only with {' or '.join(kinds)}")
        for element, rule in enumerate(network.forward):
            if not all(0 < int(port) < 65536 for port in rule.split(":")[1:]):
                yield profile.problem((*here, "forward", element), "no such port", "1 to 65535")
        mac = profile.mac(number)
        if mac in macs:
            yield profile.problem((*here, "mac"), f"{mac} stands there twice", "each once")
        macs.add(mac)


def _tpm(profile: Profile) -> Iterator[Problem]:
    if profile.tpm.version == "1.2" and profile.tpm.model == "crb":
        why = "a TPM 1.2 has no CRB interface"
        yield profile.problem(("tpm", "model"), why, "`tis` with version 1.2")


def _sockets(profile: Profile) -> Iterator[Problem]:
    display = profile.display
    wanted = (
        ("spice.sock", display.show == "spice" and display.gl, ("display", "gl")),
        ("swtpm.sock", profile.tpm.kind == "emulator", ("tpm", "kind")),
    )
    for name, used, path in wanted:
        place = f"{profile.own_folder}/{name}"
        if used and len(place.encode()) > SOCKET_PATH:
            why = f"{place} is longer than a socket's path may be"
            yield profile.problem(path, why, f"a profile in a folder with at most {SOCKET_PATH} "
                                  "bytes to the socket")  # fmt: skip


def _fw_cfg(profile: Profile) -> Iterator[Problem]:
    names: set[str] = set()
    for number, entry in enumerate(profile.fw_cfg):
        here = ("fw_cfg", number)
        if bool(entry.file) == bool(entry.text):
            why = "both are given" if entry.file else "neither is given"
            yield profile.problem((*here, "file"), why, "one of `file` and `text`")
        if entry.name in names:
            yield profile.problem((*here, "name"), f"{entry.name} stands there twice", "each once")
        names.add(entry.name)
