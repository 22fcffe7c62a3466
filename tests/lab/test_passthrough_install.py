"""`passthrough install` with a card: a guest starts from a medium that waits for a key, writes to a
disk that was made for it, and the host has everything back."""

from __future__ import annotations

import io
import shutil

import pytest

from lab.launching import OWNER, ROOM, commands_of, host_in_use, put
from lab.machine import Lab
from lab.topology import AUDIO, GPU

#: Waits for a key (int 16h, ah = 0), writes the next sector with the key in its tenth byte to the
#: first disk (int 13h, ah = 3) and switches the machine off: port 604h is PM1a_CNT of a Q35, 2000h
#: is SLP_EN (ACPI 6.5, 4.8.3.2).
_CODE = bytes.fromhex(
    "31c0 8ed8 8ec0 8ed0 bc0070"  # xor ax, ax; mov ds, es and ss, ax; mov sp, 7000h
    "30e4 cd16 a2097e"  # xor ah, ah; int 16h; mov [7e09h], al
    "bb007e b80103 b90100 ba8000 cd13"  # mov bx, 7e00h; ax, 0301h; cx, 1; dx, 80h; int 13h
    "ba0406 b80020 ef f4ebfd"  # mov dx, 604h; ax, 2000h; out dx, ax; hlt, for ever
)
#: What it writes: a text, and one partition (type 7, active, from sector 1 on).
_SECTOR = (
    b"INSTALLED".ljust(446, b"\0") + bytes.fromhex("80000200 07002000 01000000 00080000")
).ljust(510, b"\0") + b"\x55\xaa"

#: The lab's files are in memory, which has no O_DIRECT.
PROFILE = """
name = "win10"
[machine]
accel = "kvm"
[cpu]
model = "host"
cores = 1
[memory]
size = "128M"
[firmware]
kind = "bios"
[hide]
kvm = false
vendor_id = ""
hyperv = []
[[disk]]
path = "win10.qcow2"
size = "64M"
bus = "sata"
cache = "writeback"
[media]
install = "win10.iso"
[gpu]
address = "01:00.0"
rom_bar = false
[display]
video = "none"
show = "none"
[input]
tablet = false
[[network]]
kind = "none"
"""


def _medium() -> bytes:
    import pycdlib

    boot = (_CODE.ljust(512, b"\0") + _SECTOR).ljust(2048, b"\0")
    iso, made = pycdlib.PyCdlib(), io.BytesIO()
    iso.new(interchange_level=3)
    iso.add_fp(io.BytesIO(boot), len(boot), "/BOOT.;1")
    iso.add_eltorito("/BOOT.;1", bootcatfile="/BOOT.CAT;1")
    iso.write_fp(made)
    iso.close()
    return made.getvalue()


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-utils (qemu-img)")
@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
def test_a_guest_is_installed_with_its_card(lab: Lab) -> None:
    with host_in_use(lab), commands_of(lab) as commands:
        before = lab.driver(GPU), lab.driver(AUDIO)
        put(lab, f"{ROOM}/win10.iso", _medium())
        put(lab, f"{ROOM}/win10.toml", PROFILE.encode())
        words = ("install", f"{ROOM}/win10.toml", "--user", OWNER[0], "--keys", "400")

        guest = commands.start(*words)
        guest.running(400)
        assert (lab.driver(GPU), lab.driver(AUDIO)) == ("vfio-pci", "vfio-pci")
        done = guest.wait(400)
        assert done.status == 0, done.text
        assert "remote-viewer" in done.text  # its profile shows nothing
        assert "the guest has shut down" in done.text
        assert (lab.driver(GPU), lab.driver(AUDIO)) == before

        # What it has written is there, and its owner's; the tenth byte is the key that was pressed.
        lab.sh(f"qemu-img convert -O raw {ROOM}/win10.qcow2 {ROOM}/raw").check()
        assert lab.sh(f"head -c 10 {ROOM}/raw").out == "INSTALLED "
        assert lab.sh(f"stat -c '%u %s' {ROOM}/win10.qcow2 {ROOM}/raw").out.split()[::2] == [
            str(OWNER[1]), "0",
        ]  # fmt: skip
        assert lab.sh(f"stat -c %s {ROOM}/raw").out.strip() == str(64 << 20)

        # A second time it would go over what is there.
        again = commands.run(*words)
        assert (again.status, "has an MBR partition table" in again.text) == (1, True), again.text
        assert (lab.driver(GPU), lab.driver(AUDIO)) == before
        assert "nothing" in commands.run("recover", "--dry-run").text
