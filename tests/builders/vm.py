"""VMs to build: profiles in a few words, and a machine that has what they ask for."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

from builders.board import mobile
from builders.host import HostTree
from builders.laptop import laptop

from diag.inventory import Inventory
from passthrough.vm.guest import Guest, read_guest
from passthrough.vm.libvirt import build_domain
from passthrough.vm.parse import parse_profile
from passthrough.vm.profile import Profile
from passthrough.vm.qemu import CommandLine, build_argv

FOLDER = "/home/me/virt"
CODE, VARS = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"
SECURE, KEYS = "/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"
FIRMWARE = "/usr/share/qemu/firmware"


def descriptor(
    code: str,
    variables: str,
    *features: str,
    machines: str = '"pc-i440fx-*", "pc-q35-*"',
    arch: str = "x86_64",
    interface: str = "uefi",
    form: str = "raw",
) -> str:
    """A firmware descriptor, as QEMU's docs/interop/firmware.json has it."""
    listed = ", ".join(f'"{feature}"' for feature in features)
    return f"""{{"description": "UEFI", "interface-types": ["{interface}"],
      "mapping": {{"device": "flash",
        "executable": {{"filename": "{code}", "format": "{form}"}},
        "nvram-template": {{"filename": "{variables}", "format": "{form}"}}}},
      "targets": [{{"architecture": "{arch}", "machines": [{machines}]}}],
      "features": [{listed}], "tags": []}}"""


def machine(tree: HostTree | None = None) -> HostTree:
    """The laptop in order, with OVMF, and a ROM for its card at vbios.rom."""
    tree = tree or laptop()
    tree.file(f"{FIRMWARE}/40-secure.json", descriptor(
        SECURE, KEYS, "acpi-s3", "secure-boot", "enrolled-keys", "requires-smm",
        machines='"pc-q35-*"'))  # fmt: skip
    tree.file(f"{FIRMWARE}/60-plain.json", descriptor(CODE, VARS, "acpi-s3"))
    for path in (CODE, VARS, SECURE, KEYS):
        tree.file(path, b"firmware")
    return tree.file(f"{FOLDER}/vbios.rom", mobile())


def profile(text: str = "", *, folder: str = FOLDER) -> Profile:
    """A profile named win10."""
    return parse_profile(f'name = "win10"\n{text}', file="win10.toml", folder=folder)


def guest(text: str = "", *, tree: HostTree | None = None, install: bool = False) -> Guest:
    """What it becomes on the machine."""
    return read_guest(profile(text), Inventory(machine(tree).host()), install=install)


def argv(text: str = "", *, tree: HostTree | None = None, install: bool = False) -> CommandLine:
    """Its command line."""
    return build_argv(guest(text, tree=tree, install=install))


def lines(text: str = "", *, install: bool = False) -> list[str]:
    """Its options, each with its value."""
    line = argv(text, install=install)
    return [f"{name} {value}".strip() for name, value in line.options] + list(line.extra)


def xml(text: str = "", *, install: bool = False) -> Element:
    """Its domain."""
    return fromstring(build_domain(guest(text, install=install)).xml)


def example(name: str) -> str:
    """A profile of the package."""
    import passthrough.vm

    folder = Path(passthrough.vm.__file__).parent / "profiles"
    return (folder / f"{name}.toml").read_text(encoding="utf-8")
