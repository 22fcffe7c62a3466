"""`passthrough install`: what is looked at before, and what a medium and a disk are taken for."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from builders.vm import CODE
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from diag.host import Host
from diag.inventory import Inventory
from passthrough.cli import app
from passthrough.engine import execute, find_kept, take_back
from passthrough.errors import PassthroughError, StepFailed
from passthrough.journal import Places
from passthrough.machine import Machine
from passthrough.plan import Plan
from passthrough.programs import find_user
from passthrough.steps import CreateImage, MakeFolder, RunProgram
from passthrough.vm.capabilities import Capabilities
from passthrough.vm.guest import read_guest
from passthrough.vm.image import Image, read_image, read_medium, what_starts
from passthrough.vm.keys import press_until_read
from passthrough.vm.monitor import Monitor
from passthrough.vm.own_files import make_own_files
from passthrough.vm.parse import parse_profile
from passthrough.vm.visible import looked_at, visible

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-utils")

MIB = 1 << 20


def table(kind: int = 7) -> bytes:
    """A master boot record with one partition (UEFI 2.10, 5.2.1)."""
    entry = struct.pack("<B3sB3sII", 0x80, b"\0\2\0", kind, b"\0\x20\0", 1, 2048)
    return (bytes(446) + entry).ljust(510, b"\0") + b"\x55\xaa"


def run_qemu_img(*words: str | Path) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


# What is on a disk.


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"", ""),
        (bytes(4096), ""),
        (table(), "an MBR partition table"),
        (table(0xEE).ljust(512) + b"EFI PART", "a GPT partition table"),
        (bytes(4096) + b"EFI PART", "a GPT partition table"),  # blocks of 4 KiB
        (table(0), ""),  # a boot sector without partitions
        (b"\xeb\x52\x90NTFS    ".ljust(510, b"\xff") + b"\x55\xaa", "an NTFS file system"),
        (b"LUKS\xba\xbe", "a LUKS volume"),
    ],
)
def test_what_a_disk_starts_with(start: bytes, says: str) -> None:
    assert what_starts(start) == says


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("mkfs.ext4 -q -F", "an ext file system"),
        ("mkswap -q", "swap space"),
        ("mkfs.vfat", "a FAT file system"),
        ("sfdisk -q --label gpt", "a GPT partition table"),
        ("sfdisk -q --label dos", "an MBR partition table"),
    ],
)
def test_what_others_write_is_known(tmp_path: Path, program: str, says: str) -> None:
    words = program.split()
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if shutil.which(words[0], path=path) is None:
        pytest.skip(f"needs {words[0]}")
    disk = tmp_path / "disk"
    disk.write_bytes(b"")
    os.truncate(disk, 64 * MIB)
    subprocess.run(
        [*words, str(disk)], input=b",\n" if "sfdisk" in program else b"", check=True,
        env={"PATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    image = read_image(str(disk), "raw")
    assert image is not None
    assert image.holds == says


@needs_qemu_img
@pytest.mark.parametrize("options", ["", "cluster_size=512", "cluster_size=2M", "compat=0.10"])
def test_a_qcow2_image_is_read_as_a_guest_reads_it(tmp_path: Path, options: str) -> None:
    disk, raw = tmp_path / "disk.qcow2", tmp_path / "raw"
    more = ("-o", options) if options else ()
    run_qemu_img("create", "-f", "qcow2", *more, disk, "64M")
    assert read_image(str(disk), "qcow2") == Image(64 * MIB, True, bytes(0x10080))
    data = table() + os.urandom(0x10100)
    raw.write_bytes(data)
    run_qemu_img("convert", "-O", "qcow2", *more, raw, disk)
    image = read_image(str(disk), "qcow2")
    assert image is not None
    assert (image.empty, image.start) == (False, data[:0x10080])
    assert image.holds == "an MBR partition table"


@needs_qemu_img
def test_what_cannot_be_looked_into_counts_as_data(tmp_path: Path) -> None:
    disk, raw, top = (str(tmp_path / name) for name in ("disk", "raw", "top"))
    Path(raw).write_bytes(table() * 400)
    run_qemu_img("convert", "-c", "-O", "qcow2", raw, disk)
    run_qemu_img("create", "-f", "qcow2", "-b", disk, "-F", "qcow2", top)
    for path in (disk, top):
        image = read_image(path, "qcow2")
        assert image is not None
        assert image.holds == "data that cannot be looked into"


def test_what_is_no_image_is_told(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    assert read_image(str(path), "raw") is None
    path.write_bytes(b"hello")
    with pytest.raises(PassthroughError, match="no qcow2 image"):
        read_image(str(path), "qcow2")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(PassthroughError, match="neither a file nor a block device"):
        read_image(str(tmp_path / "fifo"), "raw")
    with pytest.raises(PassthroughError, match="neither a file"):
        read_image(str(tmp_path), "raw")


@given(st.binary(max_size=600), st.booleans())
def test_any_bytes_are_an_image_or_told(data: bytes, whole: bool) -> None:
    head = struct.pack(">4sIQIIQIIQ", b"QFI\xfb", 3, 0, 0, 9, 1 << 30, 0, 4, 64)
    fd = os.memfd_create("disk")
    try:
        os.write(fd, head + data if whole else data)
        try:
            image = read_image(f"/proc/self/fd/{fd}", "qcow2")
        except PassthroughError:
            return
        assert image is not None
        assert image.start is None or len(image.start) == 0x10080
    finally:
        os.close(fd)


# What a medium is.


def medium(path: Path, *, uefi: bool = False, bios: bool = True) -> Path:
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3)
    iso.add_fp(io.BytesIO(bytes(2048)), 2048, "/BOOT.;1")
    if bios:
        iso.add_eltorito("/BOOT.;1", bootcatfile="/BOOT.CAT;1")
    if uefi:
        iso.add_eltorito("/BOOT.;1", efi=True, platform_id=0xEF)
    iso.write(str(path))
    iso.close()
    return path


def test_a_medium_says_what_starts_it(tmp_path: Path) -> None:
    both = read_medium(str(medium(tmp_path / "both.iso", uefi=True)))
    assert (both.known, both.starts) == (True, ("bios", "uefi"))
    assert read_medium(str(medium(tmp_path / "bios.iso"))).starts == ("bios",)
    neither = read_medium(str(medium(tmp_path / "neither.iso", bios=False)))
    assert (neither.known, neither.starts) == (True, ())
    assert neither.claims <= neither.size
    (tmp_path / "junk").write_bytes(os.urandom(100_000))
    assert not read_medium(str(tmp_path / "junk")).known


@given(st.binary(max_size=3000), st.integers(0, 2048))
def test_any_bytes_are_a_medium_or_none(data: bytes, place: int) -> None:
    fd = os.memfd_create("medium")
    try:
        os.write(fd, bytes(16 * 2048) + b"\1CD001\1" + bytes(2041))
        os.write(fd, b"\0CD001\1EL TORITO SPECIFICATION".ljust(71, b"\0") + struct.pack("<I", 18))
        os.pwrite(fd, data, 18 * 2048 + place)
        assert read_medium(f"/proc/self/fd/{fd}").known
    finally:
        os.close(fd)


# What is made.


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "run", tmp_path / "lib")


@needs_qemu_img
@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_a_disk_is_made_and_goes_again_unless_it_was_written_to(
    tmp_path: Path, places: Places, form: str
) -> None:
    disk = tmp_path / "folder" / "disk"
    step = CreateImage(str(disk), form, 32 * MIB, find_user().uid)
    plan, machine = Plan("install it", (step,), keeps=True), Machine(Host())
    execute(plan, machine, places)
    assert read_image(str(disk), form) == Image(32 * MIB, True, bytes(0x10080))
    assert disk.stat().st_blocks * 512 < MIB  # it grows as it is written to
    assert disk.stat().st_mode & 0o777 == 0o600  # what is on it is nobody else's
    assert take_back(find_kept(places)[0], machine, places) == ()
    assert not disk.exists()

    execute(plan, machine, places)
    (tmp_path / "raw").write_bytes(table().ljust(32 * MIB, b"\0"))
    run_qemu_img("convert", "-n", "-O", form, tmp_path / "raw", disk)
    assert take_back(find_kept(places)[0], machine, places) == ()
    image = read_image(str(disk), form)
    assert image is not None
    assert image.holds == "an MBR partition table"


def test_a_disk_goes_where_the_guest_does_not_start(tmp_path: Path, places: Places) -> None:
    disk = tmp_path / "disk"
    steps = (
        CreateImage(str(disk), "raw", MIB, find_user().uid),
        RunProgram(
            "x/y", ("/bin/false",), find_user().uid, str(tmp_path / "log"), ready="/nowhere"
        ),
    )
    with pytest.raises(StepFailed) as failed:
        execute(Plan("install it", steps), Machine(Host()), places)
    assert failed.value.restored
    assert not disk.exists()


def test_a_disk_that_is_there_is_not_made(tmp_path: Path, places: Places) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"mine")
    step = CreateImage(str(disk), "raw", MIB, find_user().uid)
    with pytest.raises(StepFailed, match="is there already"):
        execute(Plan("it", (MakeFolder(str(tmp_path / "f"), find_user().uid), step)),
                Machine(Host()), places)  # fmt: skip
    assert disk.read_bytes() == b"mine"


# The key that media ask for.


class Keyboard:
    """QEMU's monitor, for a guest whose loader reads once a key was pressed often enough."""

    def __init__(self, after: int) -> None:
        self.after, self.pressed = after, 0

    async def ask(self, command: str, **arguments: Any) -> Any:
        if command == "send-key":
            assert arguments["keys"] == [{"type": "qcode", "data": "spc"}]
            self.pressed += 1
            return {}
        read = 400 << 20 if self.pressed >= self.after else 1 << 20
        return [
            {"device": "drive-disk0", "stats": {"rd_bytes": 1 << 40}},
            {"device": "drive-install", "stats": {"rd_bytes": read}},
        ]


def pressing(keyboard: Keyboard, limit: float) -> bool:
    monitor: Monitor = keyboard  # type: ignore[assignment]  # all that is asked of one
    return asyncio.run(press_until_read(monitor, "drive-install", limit))


def test_a_key_is_pressed_until_the_medium_is_read() -> None:
    keyboard = Keyboard(after=2)
    assert pressing(keyboard, 60)
    assert keyboard.pressed == 2  # not once more: the installer would take it for an answer
    never = Keyboard(after=1000)
    assert not pressing(never, 0.1)
    assert never.pressed == 1
    none = Keyboard(after=1000)
    assert not pressing(none, 0)
    assert none.pressed == 0


# The picture.


def shows(text: str) -> tuple[str, str, str]:
    profile = visible(parse_profile(f'name = "a"\n{text}'), Capabilities(Host("/nonexistent")))
    return profile.display.video, profile.display.show, looked_at(profile)


def test_a_guest_that_shows_nothing_gets_a_picture() -> None:
    assert shows('[display]\nvideo = "none"\nshow = "none"') == (
        "std", "spice", "remote-viewer spice://127.0.0.1:5900",
    )  # fmt: skip
    assert shows('[display]\nvideo = "virtio"\nshow = "vnc"\nport = 5907') == (
        "virtio", "vnc", "remote-viewer vnc://127.0.0.1:5907",
    )  # fmt: skip
    # GVT-g's part is shown in the window.
    part = (
        '[integrated]\nmdev = "i915-GVTg_V5_4"\n[display]\nvideo = "none"\nshow = "gtk"\ngl = true'
    )
    assert shows(part)[:2] == ("none", "gtk")


# The command.

PROFILE = """
name = "tiny"
[machine]
accel = "tcg"
[cpu]
model = "max"
[memory]
size = "128M"
[firmware]
kind = "bios"
[hide]
kvm = false
vendor_id = ""
hyperv = []
[[disk]]
path = "disk.qcow2"
size = "2G"
bus = "sata"
[media]
install = "tiny.iso"
[display]
video = "none"
show = "none"
[[network]]
kind = "none"
"""

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-x86_64") is None or shutil.which("qemu-img") is None,
    reason="needs qemu-system-x86 and qemu-utils",
)


def look(folder: Path, *words: str, text: str = PROFILE) -> Result:
    (folder / "tiny.toml").write_text(text)
    everything = ["install", str(folder / "tiny.toml"), "--dry-run", *words]
    result = CliRunner().invoke(app, everything)
    # The sentences are as long as the paths in them.
    result.stdout_bytes = b" ".join(result.stdout_bytes.split())
    return result


@needs_qemu
def test_the_plan_makes_the_disk_first_and_needs_no_root(tmp_path: Path) -> None:
    medium(tmp_path / "tiny.iso")
    told = look(tmp_path)
    assert told.exit_code == 0, told.output
    assert told.stdout.startswith(f"install tiny: 3 steps 1. make the disk {tmp_path}/disk.qcow2")
    assert "of 2 GiB (qcow2)" in told.stdout
    assert "the picture: remote-viewer spice://127.0.0.1:5900" in told.stdout
    assert "of 3 GiB" in look(tmp_path, "--size", "3G").stdout
    assert not (tmp_path / "disk.qcow2").exists()
    assert look(tmp_path, "--size", "3 apples").exit_code == 2


@needs_qemu
def test_what_stands_in_the_way_of_an_installation(tmp_path: Path) -> None:
    def blocked(text: str = PROFILE, *words: str) -> str:
        told = look(tmp_path, *words, text=text)
        assert told.exit_code == 1, told.output
        return told.stdout

    iso = tmp_path / "tiny.iso"
    assert "tiny.iso is not there" in blocked()
    iso.write_bytes(bytes(100_000))
    assert "is no CD or DVD" in blocked()
    medium(iso)
    whole = iso.read_bytes()
    iso.write_bytes(whole[:-4096])
    assert "is cut short" in blocked()
    iso.write_bytes(whole)
    before, _, rest = PROFILE.partition("[[disk]]")
    diskless = before + rest[rest.index("[media]") :]
    assert "there is no disk to install to" in blocked(diskless)
    volume = PROFILE.replace('path = "disk.qcow2"', 'volume = "NO-SUCH-GROUP/VM"')
    assert "lvcreate -L 64G -n VM NO-SUCH-GROUP" in blocked(volume)

    disk = tmp_path / "disk.qcow2"
    (tmp_path / "raw").write_bytes(table().ljust(MIB, b"\0"))
    run_qemu_img("convert", "-O", "qcow2", tmp_path / "raw", disk)
    assert "disk.qcow2 has an MBR partition table" in blocked()
    assert look(tmp_path, "--over-partitions").exit_code == 0
    disk.write_bytes(b"no image")
    assert "no qcow2 image" in blocked(PROFILE, "--over-partitions")


@needs_qemu
def test_a_disk_that_another_program_writes_to_is_no_guests(tmp_path: Path) -> None:
    medium(tmp_path / "tiny.iso")
    disk = tmp_path / "disk.qcow2"
    run_qemu_img("create", "-f", "qcow2", disk, "64M")
    with disk.open("r+b") as held, subprocess.Popen(["sleep", "100"], stdin=held) as other:
        told = look(tmp_path)
        other.kill()
    assert told.exit_code == 1
    assert f"sleep ({other.pid}) has {disk} open" in told.stdout
    assert look(tmp_path).exit_code == 0


@needs_qemu
def test_what_the_installer_would_not_see_is_warned_of(tmp_path: Path) -> None:
    medium(tmp_path / "tiny.iso")
    told = look(tmp_path, text=PROFILE.replace('bus = "sata"', ""))
    assert told.exit_code == 0
    assert "Windows' installer shows no disk" in told.stdout
    uefi = PROFILE.replace('kind = "bios"', 'kind = "uefi"')
    assert "has nothing that UEFI starts" in look(tmp_path, text=uefi).stdout


def test_without_a_medium_there_is_nothing_to_install(tmp_path: Path) -> None:
    told = look(tmp_path, text='name = "a"\n[firmware]\nkind = "bios"\n')
    assert told.exit_code == 3
    assert "there is nothing to install from" in told.output


@pytest.mark.skipif(not Path(CODE).exists(), reason="needs ovmf")
def test_the_vm_gets_variables_of_its_own(tmp_path: Path) -> None:
    """As the report copies OVMF_VARS.fd; once, or its settings would be lost."""
    text = 'name = "w"\n[media]\ninstall = "w.iso"\n[tpm]\nkind = "emulator"\n'
    machine = Inventory(Host())
    guest = read_guest(parse_profile(text, folder=str(tmp_path)), machine, install=True)
    assert guest.flash is not None
    make_own_files(guest.files, find_user(), folder=guest.profile.own_folder)
    own = tmp_path / "w.vm/vars.fd"
    assert own.read_bytes() == Path(guest.flash.template).read_bytes()
    assert own.stat().st_uid == os.getuid()
    own.write_bytes(b"settings")
    make_own_files(guest.files, find_user(), folder=guest.profile.own_folder)
    assert own.read_bytes() == b"settings"


def test_a_tpm_has_a_folder_without_any_other_file(tmp_path: Path) -> None:
    text = 'name = "w"\n[firmware]\nkind = "bios"\n[tpm]\nkind = "emulator"\n'
    machine = Inventory(Host())
    guest = read_guest(parse_profile(text, folder=str(tmp_path)), machine)
    make_own_files(guest.files, find_user(), folder=guest.profile.own_folder)
    assert (tmp_path / "w.vm").is_dir()


@needs_qemu
def test_a_file_that_qemu_could_not_open_stops_a_launch_before_the_card_is_taken(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(PROFILE)
    told = CliRunner().invoke(app, ["launch", str(file), "--dry-run"])
    assert told.exit_code == 1
    assert f"{tmp_path}/disk.qcow2 is not there" in told.stdout
    assert "passthrough install makes a disk" in told.stdout
    run_qemu_img("create", "-f", "qcow2", tmp_path / "disk.qcow2", "64M")
    assert CliRunner().invoke(app, ["launch", str(file), "--dry-run"]).exit_code == 0
    if os.geteuid() == 0:  # pytest's folders are root's only
        told = CliRunner().invoke(app, ["launch", str(file), "--dry-run", "--user", "nobody"])
        assert told.exit_code == 1
        assert "disk.qcow2 cannot be written to by nobody" in " ".join(told.stdout.split())


@needs_qemu
def test_what_does_not_block_is_said_before_the_guest_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from passthrough import session
    from passthrough.vm.monitor import Ending

    def ends(*_: object, **__: object) -> session.Outcome:
        return session.Outcome(Ending.ORDERLY, "", ())

    monkeypatch.setattr(session, "run_session", ends)
    monkeypatch.setattr(session, "refuse_running", lambda *_: None)
    medium(tmp_path / "tiny.iso")
    file = tmp_path / "tiny.toml"
    file.write_text(PROFILE.replace('bus = "sata"', ""))
    told = CliRunner().invoke(app, ["install", str(file), "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["ending"] == "orderly"
    assert "! install.virtio: all disks are virtio" in told.stderr
    assert "the picture: remote-viewer spice://127.0.0.1:5900" in told.stderr
    assert not (tmp_path / "disk.qcow2").exists()
