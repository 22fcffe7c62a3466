"""libvirt's system daemon inside a lab, without systemd, D-Bus or control groups."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab.cache import cached
from lab.machine import Lab
from lab.packages import LabUnavailable, unpack

PACKAGES = ("libvirt-clients", "libvirt-daemon", "libvirt-daemon-driver-qemu")
VIRSH = ("virsh", "-q", "-c", "qemu:///system")
LOG = "/run/libvirt/daemon.log"

#: The user that Debian's packages make, and that QEMU is run as.
USER = 64055

#: What has to be written to, each an empty folder of the lab's own.
_FOLDERS = ("/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt")

_START = rf"""
set -e
mkdir -p /run/libvirt/drivers /run/libvirt/etc {" ".join(_FOLDERS)}
for folder in {" ".join(_FOLDERS)}; do mount -n -t tmpfs libvirt $folder; done
for file in passwd group; do cp /etc/$file /run/libvirt/etc/; done
echo libvirt-qemu:x:{USER}:{USER}::/nonexistent:/usr/sbin/nologin >> /run/libvirt/etc/passwd
echo libvirt-qemu:x:{USER}: >> /run/libvirt/etc/group
grep -q ^kvm: /etc/group || echo kvm:x:64056: >> /run/libvirt/etc/group
for file in passwd group; do mount -n --bind /run/libvirt/etc/$file /etc/$file; done
cat > /etc/libvirt/qemu.conf <<END
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
END
cat > /etc/libvirt/libvirtd.conf <<END
log_outputs = "3:file:{LOG}"
auth_unix_rw = "none"
END
# Its other drivers want what is not here, and take their time.
ln -s /usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so /run/libvirt/drivers/
LIBVIRT_DRIVER_DIR=/run/libvirt/drivers libvirtd -d -p /run/libvirtd.pid
tries=0
until [ -S /run/libvirt/libvirt-sock ]; do
  tries=$((tries + 1)); kill -0 $(cat /run/libvirtd.pid); [ $tries -lt 300 ]; sleep 0.2
done
"""

_STOP = rf"""
kill $(cat /run/libvirtd.pid)
while kill -0 $(cat /run/libvirtd.pid) 2>/dev/null; do sleep 0.1; done
for place in /etc/passwd /etc/group {" ".join(_FOLDERS)}; do umount -n $place; done
rm -rf /run/libvirt /run/libvirtd.pid
"""


def missing_packages() -> list[str]:
    """What apt would install for libvirt's daemon here; nothing where it is installed.

    Raises:
        LabUnavailable: apt does not know it.
    """
    # A daemon of another distribution is as good.
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    if shutil.which("libvirtd", path=path) and shutil.which("virsh", path=path):
        return []
    command = ["apt-get", "install", "-s", "-q", "--no-install-recommends", *PACKAGES]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except (OSError, subprocess.SubprocessError):
        raise LabUnavailable(
            "the lab needs libvirt's daemon, and apt cannot get it: install libvirt-daemon and "
            "libvirt-clients"
        ) from None
    return re.findall(r"^Inst (\S+)", said.stdout, re.MULTILINE)


def _tree(packages: list[str]) -> Path:
    """Packages, unpacked as they would lie below /usr.

    Raises:
        LabUnavailable: they cannot be had.
    """

    def make(folder: Path) -> None:
        unpack(packages, folder)
        for name in ("lib", "sbin", "bin"):  # / and /usr are one
            if (folder / name).is_dir():
                shutil.copytree(folder / name, folder / "usr" / name, dirs_exist_ok=True)

    digest = hashlib.sha256(" ".join(sorted(packages)).encode()).hexdigest()[:12]
    return cached(f"libvirt-{digest}", make)


@contextlib.contextmanager
def libvirt_running(lab: Lab, packages: list[str] | None = None) -> Iterator[None]:
    """libvirtd runs as root; domains are run as the user number `USER`.

    Args:
        lab: where.
        packages: what is laid over the lab's /usr; without, what is missing here.

    Raises:
        LabUnavailable: there is no libvirt to be had here.
    """
    wanted = missing_packages() if packages is None else packages
    if wanted:
        option = f"lowerdir={_tree(wanted)}/usr:/usr"
        lab.run("mount", "-n", "-t", "overlay", "-o", option, "libvirt", "/usr").check()
        # What was mounted below is hidden now.
        modules = f"/usr/lib/modules/{lab.kernel.version}"
        lab.run("mount", "-n", "--bind", lab.kernel.modules, modules).check()
    try:
        lab.sh(_START).check()
        try:
            yield
        finally:
            lab.sh(_STOP).check()
    finally:
        if wanted:
            lab.run("umount", "-n", "-l", "/usr").check()
