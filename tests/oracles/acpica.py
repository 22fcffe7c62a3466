"""ACPICA's programs: iasl compiles and disassembles, acpiexec evaluates."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

IASL = shutil.which("iasl")
ACPIEXEC = shutil.which("acpiexec")
MISSING = "is not installed (Debian, Ubuntu: apt-get install acpica-tools)"


def run(*command: str | Path, folder: Path, stdin: str = "") -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        encoding="latin-1",
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


def compile_asl(text: str, folder: Path, *options: str) -> bytes:
    """The AML of ASL text, of which iasl has nothing to complain.

    Options: constants are not folded and names not shortened; integers take the fewest bytes.
    """
    (folder / "compiled.dsl").write_text(text)
    (folder / "compiled.aml").unlink(missing_ok=True)
    said = run("iasl", *(options or ("-of", "-on")), "compiled.dsl", folder=folder)
    assert "0 Errors, 0 Warnings" in said, said
    return (folder / "compiled.aml").read_bytes()


def refused_lines(lines: Sequence[str], folder: Path) -> set[int]:
    """The numbers of those lines, in a table of their own, with which iasl finds an error."""
    head = 'DefinitionBlock ("", "SSDT", 2, "TEST", "LINES", 1)\n{\n'
    (folder / "lines.dsl").write_text(head + "\n".join(lines) + "\n}\n")
    said = run("iasl", "lines.dsl", folder=folder)
    assert re.search(r"Compil\w+ (successful|failed)", said), said
    # The line, then what is wrong with it; the first of our lines is the third.
    found = re.findall(r"^lines\.dsl +(\d+):.*\nError ", said, re.MULTILINE)
    return {int(number) - 3 for number in found}


def disassemble(table: bytes, folder: Path, *others: bytes) -> str:
    """ASL from the definition block on; `others` are tables that it refers to."""
    (folder / "table.aml").write_bytes(table)
    (folder / "table.dsl").unlink(missing_ok=True)
    options: list[str] = []
    for number, other in enumerate(others):
        (folder / f"other{number}.aml").write_bytes(other)
        options += ["-e", f"other{number}.aml"]
    # Legacy operators: of nested divisions the symbols do not say which is meant.
    said = run("iasl", *options, "-dl", "table.aml", folder=folder)
    assert (folder / "table.dsl").is_file(), said
    assert "Error" not in said, said
    assert "Warning" not in said, said
    text = (folder / "table.dsl").read_text()
    return text[text.index("DefinitionBlock") :]


def evaluate(tables: Iterable[bytes], calls: Sequence[str], folder: Path) -> list[str]:
    """What acpiexec says of each call, like ``\\_SB.BAT0._STA`` or ``\\M 1 2`` (decimal).

    A DSDT comes first where the tables need one.
    """
    files = []
    for number, table in enumerate(tables):
        files.append(folder / f"exec{number:02d}.aml")
        files[-1].write_bytes(table)
    commands = "".join(f"evaluate {call}\n" for call in calls) + "quit\n"
    said = run("acpiexec", *files, folder=folder, stdin=commands)
    assert not re.search(r"AE_|ACPI (BIOS )?(Error|Warning)|Exception", said), said
    answers = said.split("Evaluating ")[1:]
    assert len(answers) == len(calls), said
    return answers


def buffers(answer: str) -> bytes:
    """The buffer of an answer."""
    length = re.search(r"\[Buffer\] Length ([0-9A-F]+)", answer)
    assert length is not None, answer
    rows = re.findall(r"[0-9A-F]{4,}: ((?:[0-9A-F]{2} )+)", answer)
    data = bytes.fromhex("".join(rows))
    assert len(data) == int(length[1], 16), answer
    return data
