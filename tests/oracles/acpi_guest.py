"""A guest that says what its kernel has made of the ACPI tables it was given.

Debian's kernel with an initramfs of its own: it loads a few modules, writes what it sees to its
second serial port, and switches itself off. Nothing of this machine is seen in it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.initramfs import Cpio, busybox, module_bytes, module_files
from lab.kernel import fetch_kernel
from lab.modules import build_module
from oracles.firmware import QEMU, Ovmf

SOURCE = Path(__file__).parent / "sources/acpi_rom"

#: Seconds; a boot takes four to eight where nothing else runs.
LIMIT = 120

#: `path` and `size` of the ROM stand in /rom; numbers of bytes to read at a time in /steps.
_INIT = r"""#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys /dev
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
$b stty -F /dev/ttyS1 raw
exec > /dev/ttyS1
while read -r module; do $b insmod "/modules/$module"; done < /insmod
echo "chassis $($b cat /sys/class/dmi/id/chassis_type)"
for d in /sys/class/power_supply/*; do
    for f in type online status capacity energy_now energy_full charge_now charge_full power_now \
        model_name voltage_now; do
        [ -f "$d/$f" ] && echo "${d##*/}.$f $($b cat "$d/$f")"
    done
done
for d in /sys/bus/pci/devices/*; do
    echo "pci.${d##*/} $($b cat "$d/firmware_node/path" 2>/dev/null || echo -)"
done
if [ -f /rom ]; then
    read -r path size < /rom
    $b insmod /modules/acpi_rom.ko "path=$path" "size=$size"
    while read -r step; do
        echo "rom.$step $($b dd if=/sys/kernel/acpi_rom "bs=$step" 2>/dev/null | $b sha256sum)"
    done < /steps
fi
echo "end ."
$b poweroff -f
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a guest said.

    Attributes:
        facts: name and value of each thing it looked at.
        console: what its kernel has logged.
        qemu: what QEMU complained of.
    """

    facts: dict[str, str]
    console: str
    qemu: str

    @property
    def acpi_errors(self) -> list[str]:
        """Lines of the log in which ACPICA or a driver complains."""
        marks = r"AE_|ACPI (BIOS )?(Error|Exception|Warning)|Invalid table|acpi_rom: (_ROM|\\)"
        return [line for line in self.console.splitlines() if re.search(marks, line)]


def initramfs(rom: tuple[str, int] | None = None, steps: Sequence[int] = (4096,)) -> bytes:
    """Everything the guest has.

    Args:
        rom: the device's path, and how many bytes to read of its ROM.
        steps: how many bytes to read at a time, once each.
    """
    kernel = fetch_kernel()
    archive = Cpio()
    for name in ("bin", "dev", "modules"):
        archive.folder(name)
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox(), 0o755)
    archive.file("init", _INIT.encode(), 0o755)
    names = []
    for path in module_files(kernel, "ac", "battery"):
        names.append(path.name.removesuffix(".xz"))
        archive.file(f"modules/{names[-1]}", module_bytes(path))
    archive.file("insmod", "".join(f"{name}\n" for name in names).encode())
    if rom is not None:
        archive.file("modules/acpi_rom.ko", build_module(SOURCE).read_bytes())
        archive.file("rom", f"{rom[0]} {rom[1]}\n".encode())
        archive.file("steps", "".join(f"{step}\n" for step in steps).encode())
    return bytes(archive)


def boot(
    folder: Path, options: Sequence[str], archive: bytes, *, machine: str = "q35",
    ovmf: Ovmf | None = None,
) -> Answers:  # fmt: skip
    """Boot the guest and let it speak; SeaBIOS where there is no `ovmf`.

    Raises:
        subprocess.TimeoutExpired: it does not end by itself.
    """
    kernel = fetch_kernel()
    (folder / "initramfs").write_bytes(archive)
    command = [str(QEMU), "-machine", f"{machine},accel=tcg", "-m", "512", "-nodefaults"]
    command += ["-display", "none", "-no-reboot", "-net", "none"]
    command += ["-serial", f"file:{folder / 'console'}", "-serial", f"file:{folder / 'answers'}"]
    command += ["-initrd", str(folder / "initramfs")]
    command += ["-append", "console=ttyS0 loglevel=7 panic=-1"]
    # The compressed kernel: QEMU enters the other one by its PVH note, and then SeaBIOS's guest
    # loses ACPI tables that are large (seen with 290 KB, QEMU 7.2).
    command += ["-kernel", str(kernel.tree / "boot" / f"vmlinuz-{kernel.version}")]
    if ovmf is not None:
        shutil.copyfile(ovmf.variables, folder / "variables")
        flash = f"if=pflash,format={ovmf.form}"
        command += ["-drive", f"{flash},unit=0,readonly=on,file={ovmf.code}"]
        command += ["-drive", f"{flash},unit=1,file={folder / 'variables'}"]
    done = subprocess.run(
        [*command, *options], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=LIMIT, check=False,
    )  # fmt: skip
    console = (folder / "console").read_text(errors="replace")
    lines = (folder / "answers").read_text(errors="replace").splitlines()
    facts = dict(line.strip().partition(" ")[::2] for line in lines)
    for name, value in facts.items():
        if name.startswith("pci."):
            # Four letters each, in sysfs: \_SB_.PCI0.S08_
            facts[name] = re.sub(r"_+(?=\.|$)", "", value)
    assert "end" in facts, f"{done.stderr}\n{lines}\n{console[-3000:]}"
    return Answers(facts, console, done.stderr)
