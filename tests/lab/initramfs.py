"""The first file system of a lab's kernel: just enough to reach this machine's own ``/``."""

from __future__ import annotations

import hashlib
import lzma
import subprocess
from pathlib import Path

from lab.cache import cached
from lab.interpreter import PYTHON, add_interpreter, interpreter, our_modules
from lab.kernel import Kernel, kmod
from lab.packages import unpack

#: What the kernel needs to see the root (9p over virtio), to lay a tmpfs over it, and to be spoken
#: to.
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console")

#: Loads the modules and hands over to the agent.
_INIT = r"""#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys /dev
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
while read -r module; do $b insmod "/modules/$module" || echo "lab: no $module"; done < /lab/insmod
read -r python < /lab/python
export LANG=C.UTF-8 HOME=/root PYTHONDONTWRITEBYTECODE=1
exec "$python" /lab/server.py
"""

#: The agent and what it imports of ours.
AGENT = tuple(
    Path(__file__).parent / f"{name}.py" for name in ("server", "frames", "newroot", "warm")
)


class Cpio:
    """An archive in the kernel's format (Documentation/driver-api/early-userspace, "newc")."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._folders: set[str] = set()

    def _add(
        self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        path = name.encode() + b"\0"
        inode = len(self._entries) + 1
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
        head += bytes(-len(head) % 4)
        self._entries.append(head + data + bytes(-len(data) % 4))

    def folder(self, name: str) -> None:
        """A directory, and those above it."""
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            if path not in self._folders:
                self._folders.add(path)
                self._add(path, 0o040755)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """A regular file, and the directories above it."""
        if "/" in name:
            self.folder(name.rpartition("/")[0])
        self._add(name, 0o100000 | mode, data)

    def link(self, name: str, target: str) -> None:
        """A symbolic link, and the directories above it."""
        if "/" in name:
            self.folder(name.rpartition("/")[0])
        self._add(name, 0o120777, target.encode())

    def character_device(self, name: str, major: int, minor: int) -> None:
        """A device node."""
        self._add(name, 0o020600, device=(major, minor))

    def __bytes__(self) -> bytes:
        end = Cpio()
        end._add("TRAILER!!!", 0)
        packed = b"".join(self._entries + end._entries)
        return packed + bytes(-len(packed) % 512)


def module_bytes(path: Path) -> bytes:
    """A kernel module, unpacked: Debian 13 ships ``.ko.xz``."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def module_files(kernel: Kernel, *modules: str) -> list[Path]:
    """The files of `modules` and of what they depend on, in the order in which to load them."""
    files: dict[Path, None] = {}
    for module in modules:
        asked = [kmod("modprobe"), "-d", kernel.tree, "-S", kernel.version]
        asked += ["--show-depends", module]
        said = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=60).stdout
        for line in said.splitlines():
            verb, _, rest = line.partition(" ")
            if verb == "insmod":
                files[Path(rest.split()[0])] = None
    return list(files)


def busybox() -> bytes:
    """A static busybox: the one program of the initramfs."""
    folder = cached("busybox", lambda folder: unpack(["busybox-static"], folder))
    merged, plain = folder / "usr/bin/busybox", folder / "bin/busybox"
    return (plain if plain.is_file() else merged).read_bytes()


def initramfs(kernel: Kernel) -> Path:
    """The file that every lab on `kernel` boots with: busybox, modules, the agent, its interpreter.

    Raises:
        LabUnavailable: busybox cannot be had.
    """
    found = interpreter()

    def make(folder: Path) -> None:
        archive = Cpio()
        for name in ("bin", "dev", "lab", "modules"):
            archive.folder(name)
        archive.character_device("dev/console", 5, 1)
        archive.file("bin/busybox", busybox(), 0o755)
        files = module_files(kernel, *BOOT_MODULES)
        for path in files:
            archive.file(f"modules/{path.name.removesuffix('.xz')}", module_bytes(path))
        names = [path.name.removesuffix(".xz") for path in files]
        archive.file("lab/insmod", "".join(f"{name}\n" for name in names).encode())
        archive.file("lab/python", f"{PYTHON}\n".encode())
        archive.file("lab/ours", "\n".join(our_modules()).encode())
        for path in AGENT:
            archive.file(f"lab/{path.name}", path.read_bytes())
        add_interpreter(archive, found)
        archive.file("init", _INIT.encode(), 0o755)
        (folder / "initramfs").write_bytes(bytes(archive))

    recipe = hashlib.sha256((_INIT + repr(BOOT_MODULES) + repr(found)).encode())
    for path in (*AGENT, Path(__file__), Path(__file__).with_name("interpreter.py")):
        recipe.update(path.read_bytes())
    name = f"initramfs-{kernel.version}-{recipe.hexdigest()[:12]}"
    return cached(name, make) / "initramfs"
