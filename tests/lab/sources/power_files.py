"""bbswitch and nvhda without a kernel module: a FUSE file system over /proc/acpi, for the lab.

For machines that cannot build modules. The kernel hands each read and write of the two files to
this program, and the caller goes on when it has answered: what a write does is done when the write
returns, as with the modules. It runs as root until SIGTERM, and needs the kernel's module fuse.

Power is cut as the modules do it: by the power controller of the GPU's slot, else by a port that
forwards no bus. README.md says what this cannot show.

    power_files.py GPU PORT      e.g. 0000:01:00.0 0000:00:01.0
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import sys
from pathlib import Path

FOLDER = "/proc/acpi"
PCI = Path("/sys/bus/pci/devices")

# include/uapi/linux/fuse.h
IN = struct.Struct("<IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
OUT = struct.Struct("<IiQ")  # length, error, unique
ATTRIBUTES = struct.Struct("<6Q10I")
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, RELEASE = 1, 2, 3, 4, 14, 15, 16, 18
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 25, 26, 27, 28, 29, 36, 42
VERSION = (7, 31)
DIRECT_IO = 1  # nothing is kept: each read and write comes here
LARGEST = 131072
ROOT = 1

# Offsets in config space: PCI and PCI Express base specifications.
COMMAND, SECONDARY_BUS, CAPABILITIES = 0x04, 0x19, 0x34
EXPRESS, SLOT_CAPABILITIES, SLOT_CONTROL = 0x10, 0x14, 0x18
POWER_CONTROLLER_PRESENT, POWER_OFF = 1 << 1, 1 << 10


def read_config(address: str, at: int, size: int) -> bytes:
    config = os.open(PCI / address / "config", os.O_RDONLY)
    try:
        return os.pread(config, size, at)
    finally:
        os.close(config)


def write_config(address: str, at: int, data: bytes) -> None:
    config = os.open(PCI / address / "config", os.O_WRONLY)
    try:
        os.pwrite(config, data, at)
    finally:
        os.close(config)


def slot_control(port: str) -> int | None:
    """Where the port's Slot Control register is, if that can switch power."""
    config = read_config(port, 0, 256)
    at = config[CAPABILITIES]
    while at:
        if config[at] == EXPRESS:
            able = config[at + SLOT_CAPABILITIES] & POWER_CONTROLLER_PRESENT
            return at + SLOT_CONTROL if able else None
        at = config[at + 1]
    return None


class Card:
    """The GPU, its audio function, and what stands for the bit that enables the latter."""

    def __init__(self, gpu: str, port: str) -> None:
        self.gpu, self.port, self.audio = gpu, port, f"{gpu[:-1]}1"
        self.bit = (PCI / self.audio).exists()
        self.control = slot_control(port)
        self.buses = read_config(port, SECONDARY_BUS, 2)
        self.header = b""

    def has_power(self) -> bool:
        return (PCI / self.gpu).exists() and read_config(self.gpu, 0, 4) != b"\xff" * 4

    def has_audio(self) -> bool:
        return (PCI / self.audio).exists() and (self.bit or not self.has_power())

    def set_slot_power(self, on: bool) -> None:
        if self.control is None:
            write_config(self.port, SECONDARY_BUS, self.buses if on else bytes(2))
            return
        value = int.from_bytes(read_config(self.port, self.control, 2), "little")
        value = value & ~POWER_OFF if on else value | POWER_OFF
        write_config(self.port, self.control, value.to_bytes(2, "little"))

    def gpu_off(self) -> None:
        if not self.has_power():
            return
        driver = PCI / self.gpu / "driver"
        if driver.is_symlink():
            name = driver.resolve().name
            said = f"bbswitch: device {self.gpu} is in use by driver '{name}', refusing OFF\n"
            Path("/dev/kmsg").write_text(f"<4>{said}")
            return
        self.header = read_config(self.gpu, 0, 64)
        self.set_slot_power(on=False)

    def gpu_on(self) -> None:
        if self.has_power():
            return
        self.set_slot_power(on=True)
        if self.header and self.has_power():
            # The card starts as from a reset. Its BARs first, then it may decode them.
            for at in (*range(0x0C, 0x40, 4), COMMAND):
                write_config(self.gpu, at, self.header[at : at + 4])

    def audio_off(self) -> None:
        if (PCI / self.audio).exists():
            (PCI / self.audio / "remove").write_text("1")
        self.write_bit(value=False)

    def audio_on(self) -> None:
        self.write_bit(value=True)
        if self.has_power() and not (PCI / self.audio).exists():
            (PCI / self.gpu / "rescan").write_text("1")

    def write_bit(self, *, value: bool) -> None:
        if self.has_power():
            self.bit = value


class Files:
    """The two files, as the kernel's requests see them."""

    def __init__(self, card: Card) -> None:
        # node number: name, state, what OFF and ON do
        self.nodes = {
            2: ("bbswitch", card.has_power, card.gpu_off, card.gpu_on),
            3: ("nvhda", card.has_audio, card.audio_off, card.audio_on),
        }
        self.card = card

    def attributes(self, node: int) -> bytes:
        folder = node == ROOT
        mode = stat.S_IFDIR | 0o555 if folder else stat.S_IFREG | 0o664
        return ATTRIBUTES.pack(node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def obey(self, node: int, data: bytes) -> int:
        """Carry out a write; how much of it was taken."""
        _, _, off, on = self.nodes[node]
        data = data[:7]
        if data[:3] == b"OFF":
            off()
        elif data[:2] == b"ON":
            on()
        return len(data)

    def answer(self, opcode: int, node: int, body: bytes) -> bytes | int:
        """What to answer: bytes, or a negative error number."""
        if opcode == INIT:
            (readahead,) = struct.unpack_from("<8xI", body)
            numbers = (*VERSION, readahead, 0, 0, 0, LARGEST, 1, 0, 0)
            return struct.pack("<IIIIHHIIHH32x", *numbers)
        if opcode == LOOKUP:
            for number, (name, *_) in self.nodes.items():
                if body.rstrip(b"\0") == name.encode():
                    return struct.pack("<QQQQII", number, 0, 0, 0, 0, 0) + self.attributes(number)
            return -errno.ENOENT
        if opcode in (GETATTR, SETATTR):
            return struct.pack("<QII", 0, 0, 0) + self.attributes(node)
        if opcode in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, DIRECT_IO if opcode == OPEN else 0, 0)
        if opcode == READ:
            offset, size = struct.unpack_from("<8xQI", body)
            state = "ON" if self.nodes[node][1]() else "OFF"
            return f"{self.card.gpu} {state}\n".encode()[offset : offset + size]
        if opcode == WRITE:
            (size,) = struct.unpack_from("<16xI", body)
            return struct.pack("<II", self.obey(node, body[40 : 40 + size]), 0)
        if opcode == READDIR:
            (offset,) = struct.unpack_from("<8xQ", body)
            entries = b""
            for number, (name, *_) in self.nodes.items():
                if number > offset:
                    entry = struct.pack("<QQII", number, number, len(name), stat.S_IFREG >> 12)
                    entry += name.encode()
                    entries += entry + bytes(-len(entry) % 8)
            return entries
        if opcode in (FLUSH, RELEASE, RELEASEDIR):
            return b""
        return -errno.ENOSYS


def serve(device: int, files: Files) -> None:
    """Answer requests until the file system is unmounted."""
    while True:
        try:
            request = os.read(device, LARGEST + 4096)
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                return
            raise
        _, opcode, unique, node, *_ = IN.unpack_from(request)
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            continue
        try:
            said = files.answer(opcode, node, request[IN.size :])
        except OSError as error:
            said = -(error.errno or errno.EIO)
        payload, failed = (b"", said) if isinstance(said, int) else (said, 0)
        os.write(device, OUT.pack(OUT.size + len(payload), failed, unique) + payload)


def main() -> None:
    _, gpu, port = sys.argv
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40555,user_id=0,group_id=0,allow_other,default_permissions"
    if libc.mount(b"power", FOLDER.encode(), b"fuse", 0, options.encode()) != 0:
        raise SystemExit(f"{FOLDER}: {os.strerror(ctypes.get_errno())}")

    def end(_number: int, _frame: object) -> None:
        libc.umount2(FOLDER.encode(), 2)  # MNT_DETACH
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    print("ready", flush=True)
    serve(device, Files(Card(gpu, port)))


if __name__ == "__main__":
    main()
