"""Commands that look at ROMs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from romkit.cli.files import (
    blaming,
    complain,
    error_record,
    fail,
    input_name,
    is_standard,
    parsed,
    read_inputs,
    read_rom,
    write_output,
)
from romkit.cli.options import File, Files, Force, Json, device_of, only_once
from romkit.cli.status import BAD_INPUT, BLOCKED, FINE
from romkit.cli.terminal import (
    line_width,
    print_json,
    say,
    shown,
    speaks_unicode,
    style_of,
    terminal_width,
)

if TYPE_CHECKING:
    from romkit.finding import Finding
    from romkit.render.style import Style
    from romkit.rom import Rom


class Format(StrEnum):
    """How `parse` prints."""

    REPORT = "report"
    ROM_PARSER = "rom-parser"


def parse(
    ctx: typer.Context,
    files: Files,
    as_json: Json = False,
    layout: Annotated[
        Format,
        typer.Option("--format", help="Report for people, or rom-parser's output for scripts."),
    ] = Format.REPORT,
) -> None:
    """Show what is in ROM files.

    - is standard input. Fails (3) only on files that cannot be read as a ROM.
    """
    from romkit.errors import RomError

    if as_json and layout is not Format.REPORT:
        raise typer.BadParameter("--json and --format exclude each other")
    status, records = FINE, []
    for number, (name, data) in enumerate(read_inputs(files)):
        try:
            rom = parsed(data)
        except RomError as err:
            status = max(status, complain(name, err))
            records.append(error_record(name, err))
            continue
        if as_json:
            records.append({"file": name, **_record(rom)})
        elif layout is Format.ROM_PARSER:
            status = max(status, _rom_parser(rom))
        else:
            _report(name, rom, style_of(ctx), gap=number > 0)
    if as_json:
        print_json(records)
    raise typer.Exit(status)


def _record(rom: Rom) -> dict[str, Any]:
    from romkit.record import record

    return {**record(rom), "findings": [f.as_json() for f in _important(rom)]}


def _rom_parser(rom: Rom) -> int:
    from romkit.render.rom_parser import rom_parser_text

    text, complete = rom_parser_text(rom)
    say(text)
    return FINE if complete else BAD_INPUT


def _report(name: str, rom: Rom, style: Style, *, gap: bool) -> None:
    from romkit.render.report import report_text

    if gap:
        say()
    say(report_text(shown(name), rom, _important(rom), style, width=line_width()))


def _important(rom: Rom) -> tuple[Finding, ...]:
    from romkit.checks import QUICK_CHECKS
    from romkit.checks import verify as run_checks
    from romkit.render.report import important

    return important(run_checks(rom, checks=QUICK_CHECKS))


def verify(
    ctx: typer.Context,
    file: File,
    device: Annotated[
        str | None,
        typer.Option(help="The device it is for, like 10de:1c8d.", show_default=False),
    ] = None,
    subsystem: Annotated[
        str | None,
        typer.Option(help="The device's subsystem, like 1025:118b.", show_default=False),
    ] = None,
    class_code: Annotated[
        str | None,
        typer.Option("--class", help="The device's class, like 0300.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show passed checks too.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is wrong with a ROM, alone or for a device.

    - is standard input. Fails (1) if anything blocks.
    """
    from romkit.checks import verify as run_checks
    from romkit.finding import blocking

    wanted = device_of(device, subsystem, class_code)
    ((name, data),) = read_inputs([file])
    if not isinstance(data, bytes):
        if as_json:  # as everywhere here, an array
            print_json([error_record(name, data)])
        fail(name, data)
    with blaming(name):
        findings = run_checks(data, wanted)
    if as_json:
        print_json([f.as_json() for f in findings])
    else:
        from romkit.render.report import verdict_text

        style, width = style_of(ctx), line_width()
        say(verdict_text(shown(name), findings, style, everything=everything, width=width))
    if any(f.check == "rom.not-a-rom" for f in findings):
        raise typer.Exit(BAD_INPUT)
    raise typer.Exit(BLOCKED if blocking(findings) else FINE)


def show_map(
    ctx: typer.Context,
    file: File,
    svg: Annotated[
        Path | None,
        typer.Option(help="Write a picture (SVG) too.", show_default=False, readable=False),
    ] = None,
    plain: Annotated[bool, typer.Option("--ascii", help="Use ASCII characters only.")] = False,
    force: Force = False,
) -> None:
    """Show where everything lies in a ROM file, with both chains.

    - is standard input.
    """
    from romkit.render.map import map_text

    rom = read_rom(file)
    only_ascii = plain or not speaks_unicode()
    with blaming(input_name(file)):
        text = map_text(rom, width=terminal_width(), style=style_of(ctx), ascii=only_ascii)
    if svg is not None:
        from romkit.render.svg import map_svg

        with blaming(input_name(file)):
            picture = map_svg(rom).encode()
        write_output(svg, picture, force=force)
    if not is_standard(svg):
        say(text)


def show_diff(
    ctx: typer.Context,
    a: Annotated[
        Path,
        typer.Argument(
            metavar="A",
            help="A ROM file; - is standard input.",
            show_default=False,
            readable=False,
        ),
    ],
    b: Annotated[
        Path, typer.Argument(metavar="B", help="Another.", show_default=False, readable=False)
    ],
    as_json: Json = False,
) -> None:
    """Compare two ROMs: images, fields, byte ranges.

    - is standard input. Fails (1) if the files differ.
    """
    from romkit.diff import diff
    from romkit.render.diff import diff_text

    only_once(a, b)
    one, other = read_rom(a, as_json=as_json), read_rom(b, as_json=as_json)
    with blaming(f"{input_name(a)}, {input_name(b)}", as_json=as_json):
        result = diff(one, other)
    if as_json:
        print_json(result.as_json())
    else:
        say(diff_text(result, style_of(ctx)))
    raise typer.Exit(FINE if result.equal else BLOCKED)
