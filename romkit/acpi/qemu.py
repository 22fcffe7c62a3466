"""Files for a guest, and what QEMU and libvirt have to be told of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from xml.sax.saxutils import quoteattr

from romkit.acpi.aml import DefinitionBlock
from romkit.acpi.battery import Battery, battery_table
from romkit.acpi.c_include import c_include, c_name
from romkit.acpi.chassis import chassis_structure
from romkit.acpi.errors import AcpiError
from romkit.acpi.vbios import FW_CFG_NAME, RomTables

#: What ``<domain>`` needs before libvirt takes the lines.
NAMESPACE = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"


_APPARMOR = "/etc/apparmor.d/local/abstractions/libvirt-qemu"


class Option(Enum):
    """How QEMU is given a file."""

    ACPITABLE = "-acpitable"
    FW_CFG = "-fw_cfg"
    SMBIOS = "-smbios"


@dataclass(frozen=True, slots=True)
class GuestFile:
    """A file that QEMU gives to the guest.

    Attributes:
        name: of the file.
        data: its bytes.
        option: how QEMU is told.
        table: the terms, where it is a table of AML.
    """

    name: str
    data: bytes
    option: Option
    table: DefinitionBlock | None = None


def battery_files(battery: Battery | None = None) -> tuple[GuestFile, ...]:
    """The table with AC adapter and battery."""
    return (_table_file("battery", battery_table(battery)),)


def vbios_files(tables: RomTables) -> tuple[GuestFile, ...]:
    """The tables of a VBIOS in their order; the ROM too where QEMU serves it."""
    files = [_table_file(f"vbios{number:02d}", table) for number, table in enumerate(tables.tables)]
    if tables.by_fw_cfg:
        files.append(GuestFile("vbios.rom", tables.rom, Option.FW_CFG))
    return tuple(files)


def chassis_files(kind: str = "notebook") -> tuple[GuestFile, ...]:
    """The SMBIOS structure that says what kind of machine this is."""
    return (GuestFile("chassis.bin", chassis_structure(kind), Option.SMBIOS),)


#: All that `vbios_files` and `sources` ever call a file.
_VBIOS_NAME = re.compile(r"vbios(?:\d{2,3}\.(?:aml|dsl|h)|\.rom|\.h)")


def left_over(names: Iterable[str], written: Iterable[str]) -> tuple[str, ...]:
    """Files of an earlier VBIOS that do not belong to this one.

    Args:
        names: of the files in the directory.
        written: what was written there now.
    """
    new = set(written)
    if not any(_VBIOS_NAME.fullmatch(name) for name in new):
        return ()
    return tuple(sorted(n for n in set(names) - new if _VBIOS_NAME.fullmatch(n)))


def _table_file(name: str, table: DefinitionBlock) -> GuestFile:
    return GuestFile(f"{name}.aml", bytes(table), Option.ACPITABLE, table)


def sources(files: Sequence[GuestFile], *, asl: bool = False, c: bool = False) -> dict[str, bytes]:
    """The same files as text, for those who compile them into a firmware.

    Args:
        files: tables, and others.
        asl: tables as ASL.
        c: all of them as arrays in C.
    """
    texts: dict[str, bytes] = {}
    for file in files:
        stem = file.name.rpartition(".")[0]
        if asl and file.table is not None:
            texts[f"{stem}.dsl"] = str(file.table).encode("ascii")
        if c:
            texts[f"{stem}.h"] = c_include(file.data, c_name(stem)).encode("ascii")
    return texts


def qemu_arguments(files: Sequence[GuestFile], directory: str) -> tuple[tuple[str, str], ...]:
    """Option and value for each file.

    Args:
        files: in the order in which the guest should have them.
        directory: where they are; libvirt wants it absolute.

    Raises:
        AcpiError: a path of a table with a colon, where QEMU would see two files.
    """
    return tuple((file.option.value, _value(file, directory)) for file in files)


def _value(file: GuestFile, directory: str) -> str:
    path = f"{directory.rstrip('/')}/{file.name}"
    if file.option is Option.ACPITABLE and ":" in path:
        raise AcpiError(
            f"{path!r}: QEMU takes a colon for the end of a table's name",
            hint="a directory without one",
        )
    # A comma separates options; two are one.
    value = f"file={path.replace(',', ',,')}"
    return f"name={FW_CFG_NAME},{value}" if file.option is Option.FW_CFG else value


def libvirt_access(directory: str) -> tuple[str, ...]:
    """What libvirt does not do for files that only QEMU's own arguments name: let QEMU read them.

    It gives the files of a domain to QEMU's user, and to its AppArmor profile or SELinux label, but
    does not look into ``qemu:commandline`` (libvirt, src/security/virt-aa-helper.c and
    security_selinux.c).

    Args:
        directory: where the files are, absolute.
    """
    where = directory.rstrip("/")
    return (
        "libvirt does not open these files to QEMU: its user (libvirt-qemu, or qemu) must be able "
        "to read them, so keep them out of home directories",
        "with AppArmor (Debian, Ubuntu, openSUSE), write into "
        f'{_APPARMOR}: "{where}/*" rk, and run: systemctl reload apparmor',
        "with SELinux (Fedora, RHEL), run: "
        f"semanage fcontext -a -t virt_content_t {shlex.quote(re.escape(where) + '(/.*)?')} "
        f"&& restorecon -R {shlex.quote(where)}",
    )


def shell_text(arguments: Sequence[tuple[str, str]]) -> str:
    """Arguments for a shell, a pair a line."""
    return " \\\n".join(f"{option} {shlex.quote(value)}" for option, value in arguments)


def libvirt_text(arguments: Sequence[tuple[str, str]]) -> str:
    """The same inside ``<domain>``; libvirt has no elements of its own for several tables."""
    lines = ["<qemu:commandline>"]
    for option, value in arguments:
        lines += [f"  <qemu:arg value={quoteattr(part)}/>" for part in (option, value)]
    return "\n".join([*lines, "</qemu:commandline>"])
