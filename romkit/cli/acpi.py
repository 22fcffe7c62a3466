"""ACPI for guests: battery, VBIOS, chassis; tables and paths shown."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from romkit.cli.files import (
    blaming,
    complain,
    error_record,
    input_name,
    read_inputs,
    read_one,
    write_output,
    write_parts,
)
from romkit.cli.options import File, Force, Json, once_each
from romkit.cli.status import BLOCKED, FINE
from romkit.cli.terminal import print_json, say, shown, style_of
from romkit.errors import RomError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from romkit.acpi.path import GuestPath
    from romkit.acpi.qemu import GuestFile

acpi = typer.Typer(
    help="Give a guest a battery and a VBIOS by ACPI; look into ACPI tables.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Directory = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        metavar="DIR",
        help="The directory to write to.",
        show_default=False,
        readable=False,
    ),
]
Asl = Annotated[bool, typer.Option("--dsl", help="Write the tables as ASL text too.")]
CArrays = Annotated[bool, typer.Option("--c", help="Write the files as C arrays too.")]
Machine = Annotated[str, typer.Option(help="QEMU's machine type.")]
QemuVersion = Annotated[
    str | None, typer.Option("--qemu", help="QEMU's version, like 7.2.", show_default=False)
]
BridgeHotplug = Annotated[
    bool,
    typer.Option(
        "--bridge-hotplug/--no-bridge-hotplug",
        help="Whether devices behind bridges are unplugged by ACPI (QEMU's default).",
    ),
]


class UnitName(StrEnum):
    """What a capacity counts."""

    MWH = "mWh"
    MAH = "mAh"


class StateName(StrEnum):
    """What a battery does."""

    IDLE = "idle"
    DISCHARGING = "discharging"
    CHARGING = "charging"


class Chassis(StrEnum):
    """The kinds of `romkit.acpi.chassis.CHASSIS`."""

    DESKTOP = "desktop"
    TOWER = "tower"
    PORTABLE = "portable"
    LAPTOP = "laptop"
    NOTEBOOK = "notebook"
    ALL_IN_ONE = "all-in-one"
    SUB_NOTEBOOK = "sub-notebook"
    TABLET = "tablet"
    CONVERTIBLE = "convertible"
    DETACHABLE = "detachable"


@acpi.command()
def battery(
    ctx: typer.Context,
    output: Directory,
    charge: Annotated[int, typer.Option(help="How full it is, per cent.")] = 100,
    capacity: Annotated[int, typer.Option(help="When it is full.")] = 50000,
    unit: Annotated[UnitName, typer.Option(help="Of the capacity.")] = UnitName.MWH,
    state: Annotated[StateName, typer.Option(help="What it does.")] = StateName.IDLE,
    rate: Annotated[int, typer.Option(help="How fast, in mW or mA.")] = 0,
    voltage: Annotated[int, typer.Option(help="Millivolts.")] = 11400,
    offline: Annotated[
        bool, typer.Option("--offline", help="The AC adapter has no power.")
    ] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only the device: no battery in its bay.")
    ] = False,
    dsl: Asl = False,
    c: CArrays = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Write a table with an AC adapter and a battery."""
    from romkit.acpi.battery import Battery, State, Unit
    from romkit.acpi.qemu import battery_files

    try:
        wanted = Battery(
            capacity=capacity,
            percent=charge,
            unit=Unit[unit.name],
            state=State[state.name],
            rate=rate,
            voltage=voltage,
            online=not offline,
            present=not missing,
        )
    except RomError as err:
        raise typer.BadParameter(err.message) from None
    _deliver(
        ctx, battery_files(wanted), output, notes=wanted.notes, dsl=dsl, c=c, as_json=as_json,
        force=force,
    )  # fmt: skip


@acpi.command()
def vbios(
    ctx: typer.Context,
    file: File,
    output: Directory,
    at: Annotated[
        str | None,
        typer.Option(
            help="The GPU in the guest: slot.function, from the root bus down, like 01.0/00.0.",
            show_default=False,
        ),
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(
            help=r"Its ACPI path in the guest instead, like '\_SB.PCI0.S08.S00'.",
            show_default=False,
        ),
    ] = None,
    machine: Machine = "q35",
    qemu: QemuVersion = None,
    bridge_hotplug: BridgeHotplug = True,
    node: Annotated[
        bool | None,
        typer.Option(
            "--node/--no-node",
            help="Make the device's node where QEMU has none (default: unless it is known to).",
            show_default=False,
        ),
    ] = None,
    fw_cfg: Annotated[
        bool, typer.Option("--fw-cfg", help="Let the guest read the ROM from QEMU: no size limit.")
    ] = False,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Neither strip the ROM nor check it.")
    ] = False,
    dsl: Asl = False,
    c: CArrays = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Write tables that give a guest's driver the VBIOS by _ROM.

    - is standard input.
    """
    from romkit.acpi.qemu import vbios_files
    from romkit.acpi.vbios import fw_cfg_tables, rom_tables, rom_to_serve
    from romkit.rom import parse_rom

    place = _place(at, path, machine, qemu, bridge_hotplug)
    name, data = read_one(file, as_json=as_json)
    with blaming(name, as_json=as_json):
        rom = data if as_is else rom_to_serve(parse_rom(data))
        tables = (fw_cfg_tables if fw_cfg else rom_tables)(rom, place, node=node)
        files = vbios_files(tables)
    notes = tables.notes
    if len(rom) != len(data):
        notes = (f"{len(data)} → {len(rom)} bytes: what surrounds the ROM is cut off", *notes)
    facts = {"path": str(place), "rom_size": len(rom), "rom_sha256": tables.sha256}
    _deliver(
        ctx, files, output, notes=notes, dsl=dsl, c=c, as_json=as_json, force=force, facts=facts
    )


@acpi.command()
def chassis(
    ctx: typer.Context,
    output: Directory,
    kind: Annotated[Chassis, typer.Option(help="What the guest is said to be.")] = Chassis.NOTEBOOK,
    c: CArrays = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Write the SMBIOS structure that makes a guest a notebook."""
    from romkit.acpi.qemu import chassis_files

    _deliver(ctx, chassis_files(kind.value), output, c=c, as_json=as_json, force=force)


@acpi.command()
def decode(
    ctx: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="ACPI tables; - is standard input.",
            show_default=False,
            readable=False,
            callback=once_each,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Write the tables as C arrays; - is standard output.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Show ACPI tables: header, checksum, and what they define.

    - is standard input.
    """
    from romkit.acpi.c_include import c_include, c_name
    from romkit.acpi.outline import outline
    from romkit.acpi.table import parse_tables, verify_table
    from romkit.finding import blocking
    from romkit.render.acpi import table_text

    status, records, texts = FINE, [], []
    arrays: dict[str, str] = {}
    for name, data in read_inputs(files, kind="ACPI table"):
        try:
            if isinstance(data, Exception):
                raise data
            tables = parse_tables(data)
        except RomError as err:
            records.append(error_record(name, err))
            status = max(status, complain(name, err))
            continue
        for table in tables:
            findings, entries = verify_table(table), outline(table)
            status = max(status, BLOCKED if blocking(findings) else FINE)
            records.append(_table_record(name, table, findings, entries))
            texts.append(table_text(table, findings, entries, style_of(ctx)))
            stem = c_name(f"{table.signature}_{table.oem_table_id}".rstrip("_").lower())
            unique, number = stem, 2
            while unique in arrays:
                unique, number = f"{stem}_{number}", number + 1
            arrays[unique] = c_include(bytes(table), unique)
    if output is not None and arrays:
        write_output(
            output, "\n".join(arrays.values()).encode("ascii"), force=force, as_json=as_json
        )
    beside = str(output) == "-"
    if as_json:
        print_json(records, err=beside)
    elif texts:
        say("\n\n".join(texts), err=beside)
    raise typer.Exit(status)


@acpi.command()
def path(
    ctx: typer.Context,
    device: Annotated[
        str,
        typer.Argument(
            metavar="DEVICE",
            help="slot.function in the guest, from the root bus down, like 01.0/00.0.",
            show_default=False,
        ),
    ],
    machine: Machine = "q35",
    qemu: QemuVersion = None,
    bridge_hotplug: BridgeHotplug = True,
    as_json: Json = False,
) -> None:
    """Say where a PCI device stands in a guest's ACPI namespace."""
    from romkit.render.acpi import path_text

    place = _place(device, None, machine, qemu, bridge_hotplug)
    if as_json:
        record = {"path": place.path, "has_node": place.has_node, "reason": place.reason}
        print_json({"device": "/".join(str(hop) for hop in place.hops), **record})
    else:
        say(path_text(place, style_of(ctx)))


def _place(
    at: str | None, path: str | None, machine: str, qemu: str | None, bridge_hotplug: bool
) -> GuestPath:
    from romkit.acpi.path import guest_path, named_path, parse_hops, parse_qemu

    if (at is None) == (path is None):
        raise typer.BadParameter("give --at, like 01.0/00.0, or the ACPI path by --path")
    try:
        if path is not None:
            return named_path(path)
        version = None if qemu is None else parse_qemu(qemu)
        hops = parse_hops(at or "")
        return guest_path(hops, machine=machine, qemu=version, bridge_hotplug=bridge_hotplug)
    except RomError as err:
        hint = f" (try: {err.hint})" if err.hint else ""
        raise typer.BadParameter(err.message + hint) from None


def _deliver(
    ctx: typer.Context,
    files: Sequence[GuestFile],
    output: Path,
    *,
    notes: Sequence[str] = (),
    dsl: bool = False,
    c: bool = False,
    as_json: bool = False,
    force: bool = False,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write the files, then say how a guest gets them."""
    from romkit.acpi.qemu import libvirt_text, qemu_arguments, sources
    from romkit.render.acpi import files_text

    # libvirt starts QEMU elsewhere.
    directory = os.path.abspath(output)  # noqa: PTH100  links in it stay as they are
    with blaming(input_name(output), as_json=as_json):
        arguments = qemu_arguments(files, directory)
    parts = {file.name: file.data for file in files}
    written = write_parts(
        output, {**parts, **sources(files, asl=dsl, c=c)}, force=force, as_json=as_json
    )
    if as_json:
        print_json(
            {
                **(facts or {}),
                "files": [str(path) for path in written],
                "qemu": [part for pair in arguments for part in pair],
                "libvirt": libvirt_text(arguments),
                "notes": list(notes),
            }
        )
    else:
        style = style_of(ctx)
        say(files_text([shown(path) for path in written], arguments, notes, style))


def _table_record(name: str, table: Any, findings: Any, entries: Any) -> dict[str, Any]:
    keys = ("signature", "length", "revision", "checksum", "oem_id", "oem_table_id")
    more = ("oem_revision", "creator_id", "creator_revision")
    return {
        "file": name,
        **{key: getattr(table, key) for key in (*keys, *more)},
        "checksum_ok": table.sum8 == 0,
        "findings": [finding.as_json() for finding in findings],
        "outline": [
            {key: getattr(entry, key) for key in ("offset", "depth", "kind", "path", "detail")}
            for entry in entries
        ],
    }
