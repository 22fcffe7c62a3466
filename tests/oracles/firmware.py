"""Runs a PC's firmware in QEMU, without KVM, and listens to what option ROMs say.

A virtual machine ends itself: the last program that the firmware starts writes to the port of
QEMU's isa-debug-exit. Nothing waits for longer than that takes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders.driver import EXIT, EXIT_STATUS, MARKS, PATHS, x64_end

QEMU = shutil.which("qemu-system-x86_64")

#: Where SeaBIOS writes its log.
SEABIOS_LOG = 0x402

#: The network that devices are booted from.
NETWORK = "nowhere"

#: The last mark of a machine that ended by itself.
END = "end"

#: Seconds after which a machine that should end by itself is taken for stuck.
LIMIT = 120.0


@dataclass(frozen=True, slots=True)
class Ovmf:
    """An OVMF without Secure Boot: the firmware and the template of its variables."""

    code: Path
    variables: Path
    form: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine that is or was running.

    Attributes:
        process: QEMU.
        folder: where its files are.
    """

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def marks(self) -> tuple[str, ...]:
        """What programs have written so far, a line each, in their order."""
        text = (self.folder / "marks").read_bytes().decode("ascii", "backslashreplace")
        return tuple(text.split("\n")[:-1])

    @property
    def option_rom_images(self) -> set[tuple[int, int, int]]:
        """Images that OVMF holds from ROMs on the first bus: device, function, offset in the ROM.

        It throws away applications that have ended, and drivers that did not want to start.
        """
        found, pci = set(), (0, 0)
        data, at = (self.folder / "paths").read_bytes(), 0
        while at < len(data):
            # UEFI specification 2.10, section 10.3: type, subtype, length of a node.
            kind, length = data[at : at + 2], int.from_bytes(data[at + 2 : at + 4], "little")
            if kind == b"\x01\x01":
                pci = (data[at + 5], data[at + 4])
            elif kind == b"\x04\x08":
                found.add((*pci, int.from_bytes(data[at + 8 : at + 16], "little")))
            at += length
        return found

    def says(self, *texts: str, limit: float = LIMIT) -> str | None:
        """Wait for a line with one of `texts` in SeaBIOS's log or on OVMF's console.

        Lines that were read once are not read again.

        Returns:
            The text that came; None if the machine ended, or was ended after `limit` seconds,
            without it.
        """
        assert self.process.stdout is not None
        guard = threading.Timer(limit, self.process.kill)
        guard.start()
        try:
            for line in self.process.stdout:
                for text in texts:
                    if text.encode("ascii") in line:
                        return text
            return None
        finally:
            guard.cancel()

    def ends(self, limit: float = LIMIT) -> bool:
        """Wait until the machine ends itself. False if it does not within `limit` seconds.

        Raises:
            RuntimeError: QEMU ended for another reason, with what it said.
        """
        try:
            status = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            return False
        if status != EXIT_STATUS:
            said = (self.folder / "stderr").read_text(errors="replace")
            raise RuntimeError(f"QEMU ended with status {status}: {said}")
        return True


def find_ovmf() -> Ovmf | None:
    """The first OVMF for 64-bit PCs that needs neither Secure Boot nor SMM."""
    for folder in ("/etc/qemu/firmware", "/usr/share/qemu/firmware"):
        for path in sorted(Path(folder).glob("*.json")):
            found = _described(json.loads(path.read_text()))
            if found is not None:
                return found
    for code in sorted(Path("/usr/share/OVMF").glob("OVMF_CODE*.fd")):
        variables = code.with_name(code.name.replace("CODE", "VARS"))
        # OVMF_CODE.fd, OVMF_CODE_4M.fd; the others (.secboot, .ms, .snakeoil) need SMM.
        if "." not in code.stem and variables.is_file():
            return Ovmf(code, variables, "raw")
    return None


def _described(firmware: dict[str, object]) -> Ovmf | None:
    """What a firmware descriptor (QEMU, docs/interop/firmware.json) names, if it fits."""
    match firmware:
        case {
            "interface-types": ["uefi", *_],
            "mapping": {
                "device": "flash",
                "executable": {"filename": str(code), "format": str(form)},
                "nvram-template": {"filename": str(variables), "format": str(other)},
            },
            "targets": [{"architecture": "x86_64"}, *_],
            "features": list(features),
        } if form == other and not {"secure-boot", "requires-smm"} & set(features):
            ovmf = Ovmf(Path(code), Path(variables), form)
            return ovmf if ovmf.code.is_file() and ovmf.variables.is_file() else None
    return None


OVMF = find_ovmf()

#: What tests that boot OVMF are marked with.
NEEDS_OVMF = [
    pytest.mark.slow,
    pytest.mark.skipif(
        QEMU is None or OVMF is None,
        reason="QEMU or OVMF is not installed "
        "(Debian, Ubuntu: apt-get install qemu-system-x86 ovmf)",
    ),
]


@contextmanager
def start_ovmf(folder: Path, ovmf: Ovmf, devices: Sequence[str]) -> Iterator[Machine]:
    """Boot OVMF with these ``-device`` options. Its console, COM1, can be read.

    When all devices are connected it starts an application (``-kernel``) that says `END` and
    ends the machine.
    """
    (folder / "end.efi").write_bytes(x64_end(END))
    options = [*_console(folder, ovmf), "-kernel", str(folder / "end.efi")]
    with _start(folder, options, devices) as machine:
        yield machine


@contextmanager
def start_ovmf_from_network(
    folder: Path, ovmf: Ovmf, model: str, romfile: Path
) -> Iterator[Machine]:
    """Boot OVMF from a network device, or else its shell. Its console, COM1, can be read.

    Nothing else is in that network: no server, and no way out. The machine does not end itself.
    """
    # A hub with one port: every QEMU has it, and what is sent there goes nowhere.
    options = [*_console(folder, ovmf), "-netdev", f"hubport,id={NETWORK},hubid=0"]
    device = f"{model},netdev={NETWORK},bootindex=0,romfile={romfile}"
    with _start(folder, options, [device]) as machine:
        yield machine


def _console(folder: Path, ovmf: Ovmf) -> list[str]:
    """OVMF in flash, with variables of its own, and COM1 where `Machine.says` reads."""
    variables = folder / "variables"
    shutil.copyfile(ovmf.variables, variables)
    flash = f"if=pflash,format={ovmf.form}"
    options = ["-drive", f"{flash},unit=0,readonly=on,file={ovmf.code}"]
    options += ["-drive", f"{flash},unit=1,file={variables}"]
    return [*options, "-chardev", "stdio,id=com1,signal=off", "-serial", "chardev:com1"]


@contextmanager
def start_seabios(folder: Path, devices: Sequence[str]) -> Iterator[Machine]:
    """Boot QEMU's default BIOS with these ``-device`` options. Its log can be read."""
    options = ["-chardev", "stdio,id=log,signal=off"]
    options += ["-device", f"isa-debugcon,iobase={SEABIOS_LOG:#x},chardev=log"]
    with _start(folder, options, devices) as machine:
        yield machine


@contextmanager
def _start(folder: Path, options: Sequence[str], devices: Sequence[str]) -> Iterator[Machine]:
    command = [str(QEMU), "-machine", "q35,accel=tcg", "-m", "256", "-no-reboot"]
    command += ["-nodefaults", "-display", "none", "-vga", "none", "-net", "none"]
    for port, path in ((MARKS, folder / "marks"), (PATHS, folder / "paths")):
        path.touch()
        command += ["-chardev", f"file,id={path.name},path={path}"]
        command += ["-device", f"isa-debugcon,iobase={port:#x},chardev={path.name}"]
    command += ["-device", f"isa-debug-exit,iobase={EXIT:#x},iosize=2", *options]
    for device in devices:
        command += ["-device", device]
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
        )
    with process:
        try:
            yield Machine(process, folder)
        finally:
            process.kill()
