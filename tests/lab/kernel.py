"""Debian's kernel, as QEMU boots it fastest."""

from __future__ import annotations

import functools
import lzma
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.cache import cache_folder, cached
from lab.packages import LabUnavailable, dependency, unpack

#: The kernel with every driver that the lab needs; the cloud flavour has no 9p and no sound.
METAPACKAGE = "linux-image-amd64"

#: Linux/x86 boot protocol (Documentation/x86/boot.rst): setup_sects, payload_offset, payload_length
_SETUP_SECTS, _PAYLOAD = 0x1F1, 0x248


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel, unpacked.

    Attributes:
        version: as `uname -r` prints it.
        tree: where its package is unpacked: ``lib/modules/VERSION`` is below.
        image: what QEMU boots. The uncompressed kernel where it can be had: QEMU enters that by
            its PVH note, which saves the seconds that the kernel's decompressor takes without KVM.
    """

    version: str
    tree: Path
    image: Path

    @property
    def modules(self) -> Path:
        """The folder of its modules."""
        return self.tree / "lib/modules" / self.version


def kmod(name: str) -> str:
    """The path of a program of kmod, which an ordinary user's PATH may leave out.

    Raises:
        LabUnavailable: kmod is not installed.
    """
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise LabUnavailable(f"the lab needs {name}: install kmod")
    return found


@functools.cache
def fetch_kernel() -> Kernel:
    """Debian's current kernel: from the cache, or downloaded and unpacked.

    Where apt cannot say which that is, the one that was used last will do.

    Raises:
        LabUnavailable: apt cannot get it, and none is in the cache.
    """
    try:
        package = dependency(METAPACKAGE, r"linux-image-\d\S+")
    except LabUnavailable:
        kept = sorted(cache_folder().glob("kernel-*/image"), key=lambda path: path.lstat().st_mtime)
        if not kept:
            raise
        tree = kept[-1].parent
        return Kernel(tree.name.removeprefix("kernel-"), tree, tree / "image")
    version = package.removeprefix("linux-image-")

    def make(folder: Path) -> None:
        unpack([package], folder)
        # A merged /usr (Debian 13) has its modules below usr.
        if not (folder / "lib").exists():
            (folder / "lib").symlink_to("usr/lib")
        subprocess.run([kmod("depmod"), "-b", folder, version], check=True, timeout=300)
        packed = folder / "boot" / f"vmlinuz-{version}"
        plain = vmlinux(packed.read_bytes())
        if plain is None:
            (folder / "image").symlink_to(packed.relative_to(folder))
        else:
            (folder / "image").write_bytes(plain)

    tree = cached(f"kernel-{version}", make)
    return Kernel(version, tree, tree / "image")


def vmlinux(image: bytes) -> bytes | None:
    """The ELF file inside a bzImage; None if it is not compressed by xz, as Debian's are."""
    setup = (image[_SETUP_SECTS] or 4) + 1
    start = setup * 512 + int.from_bytes(image[_PAYLOAD : _PAYLOAD + 4], "little")
    length = int.from_bytes(image[_PAYLOAD + 4 : _PAYLOAD + 8], "little")
    payload = image[start : start + length]
    if payload[:6] != b"\xfd7zXZ\0":
        return None
    # The last four bytes are the length of what comes out.
    return lzma.LZMADecompressor().decompress(payload[:-4])
