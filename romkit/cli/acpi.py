"""ACPI for guests: battery, VBIOS, chassis; tables and paths shown."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from romkit.cli.files import (
    blaming,
    complain,
    error_record,
    read_inputs,
    read_one,
    write_output,
)
from romkit.cli.guest_files import deliver
from romkit.cli.options import File, Force, Json, once_each
from romkit.cli.status import BLOCKED, FINE
from romkit.cli.terminal import print_json, say, style_of
from romkit.errors import RomError

if TYPE_CHECKING:
    from collections.abc import Container

    from romkit.acpi.path import GuestPath
    from romkit.acpi.table import AcpiTable

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

    if missing:
        _refuse_beside_missing(ctx)
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
        raise typer.BadParameter(_with_hint(err)) from None
    deliver(
        ctx, battery_files(wanted), output, notes=wanted.notes, dsl=dsl, c=c, as_json=as_json,
        force=force,
    )  # fmt: skip


def _refuse_beside_missing(ctx: typer.Context) -> None:
    """See that nothing was said about a battery that is not there."""
    about = ("charge", "capacity", "unit", "state", "rate", "voltage", "offline")
    sources = {name: ctx.get_parameter_source(name) for name in about}
    typed = [n for n, source in sources.items() if source and source.name == "COMMANDLINE"]
    if typed:
        options = ", ".join(f"--{name}" for name in typed)
        raise typer.BadParameter(f"--missing leaves no battery for {options} to be about")


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
    entry: Annotated[
        int | None,
        typer.Option(
            min=0, help="Of a VFCT, the entry whose ROM is wanted, from 0 on.", show_default=False
        ),
    ] = None,
    dsl: Asl = False,
    c: CArrays = False,
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Write tables that give a guest's driver the VBIOS by _ROM.

    - is standard input.
    """
    from romkit.acpi.qemu import vbios_files
    from romkit.acpi.vbios import fw_cfg_tables, rom_tables

    if as_is and entry is not None:
        raise typer.BadParameter("--as-is takes the whole file, --entry a part of it: give one")
    place = _place(at, path, machine, qemu, bridge_hotplug)
    name, data = read_one(file, as_json=as_json)
    with blaming(name, as_json=as_json):
        rom, notes = (data, ()) if as_is else _rom_of(data, entry)
        tables = (fw_cfg_tables if fw_cfg else rom_tables)(rom, place, node=node)
        files = vbios_files(tables)
    notes = (*notes, *tables.notes)
    if len(rom) != len(data):
        notes = (f"{len(data)} → {len(rom)} bytes: what surrounds the ROM is cut off", *notes)
    facts = {"path": str(place), "rom_size": len(rom), "rom_sha256": tables.sha256}
    deliver(
        ctx, files, output, notes=notes, dsl=dsl, c=c, as_json=as_json, force=force, facts=facts
    )


def _rom_of(data: bytes, entry: int | None) -> tuple[bytes, tuple[str, ...]]:
    """The ROM to serve, and which of several it is.

    Raises:
        RomError: there is none that a driver could use.
    """
    from romkit.acpi.errors import AcpiError
    from romkit.acpi.vbios import choice_notes, rom_to_serve
    from romkit.rom import parse_rom

    rom = parse_rom(data)
    try:
        served = rom_to_serve(rom, entry=entry)
    except AcpiError as err:
        raise AcpiError(err.message, err.offset, hint=f"{err.hint}; --as-is takes it so") from None
    chosen = choice_notes(rom, entry)
    if chosen and entry is None:
        chosen = (*chosen, "--entry N takes another one")
    return served, chosen


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

    deliver(ctx, chassis_files(kind.value), output, c=c, as_json=as_json, force=force)


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
    from romkit.acpi.c_include import c_include
    from romkit.acpi.outline import MAX_ENTRIES, outline
    from romkit.acpi.table import parse_tables, verify_rest, verify_table
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
        left = MAX_ENTRIES
        for table in tables:
            findings, entries = verify_table(table), outline(table, left)
            left = max(left - len(entries), 0)
            if table is tables[-1]:
                findings += verify_rest(data, tables)
            status = max(status, BLOCKED if blocking(findings) else FINE)
            records.append(_table_record(name, table, findings, entries))
            texts.append(table_text(table, findings, entries, style_of(ctx)))
            if output is not None:
                array = _free_name(table, arrays)
                arrays[array] = c_include(bytes(table), array)
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
        raise typer.BadParameter(_with_hint(err)) from None


def _with_hint(err: RomError) -> str:
    """What is wrong and what to do, in the one line that a usage error has."""
    return f"{err.message} (try: {err.hint})" if err.hint else err.message


def _free_name(table: AcpiTable, taken: Container[str]) -> str:
    """A name in C that no array has yet."""
    from romkit.acpi.c_include import c_name

    stem = c_name(f"{table.signature}_{table.oem_table_id}".rstrip("_").lower())
    unique, number = stem, 2
    while unique in taken:
        unique, number = f"{stem}_{number}", number + 1
    return unique


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
