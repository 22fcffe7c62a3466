"""Boots a lab."""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.guest import CHECKOUT, Lab
from lab.initramfs import initramfs
from lab.interpreter import PYTHON
from lab.job import LIFE_LIMIT, Done, LabError, Running, SetUpError
from lab.kernel import Kernel, fetch_kernel
from lab.packages import LabUnavailable
from lab.snapshot import save, snapshot_path
from lab.topology import Topology

__all__ = ["CHECKOUT", "QEMU", "Done", "Lab", "LabError", "Running", "open_lab", "qemu_path"]

QEMU = "qemu-system-x86_64"
#: Seconds. A snapshot that is not up by then is broken (it takes one).
RESTORE_LIMIT = 60.0


def accelerator() -> str:
    """``kvm`` where the module of a real processor is loaded, else ``tcg``.

    /dev/kvm alone proves nothing: under some hypervisors it exists and cannot run Debian's kernel.
    """
    loaded = any(Path("/sys/module", name).exists() for name in ("kvm_intel", "kvm_amd"))
    return "kvm" if loaded and os.access("/dev/kvm", os.R_OK | os.W_OK) else "tcg"


def qemu_path() -> str:
    """Where QEMU is.

    Raises:
        LabUnavailable: it is not installed, or this machine is no x86-64.
    """
    if platform.machine() != "x86_64":
        raise LabUnavailable(f"the lab is an x86-64 machine, and this one is {platform.machine()}")
    found = shutil.which(QEMU)
    if found is None:
        raise LabUnavailable(f"the lab needs {QEMU}: install qemu-system-x86")
    return found


def command_line(topology: Topology, kernel: Kernel, processors: int) -> list[str]:
    """QEMU's command line as far as it is the same for all labs of a kind."""
    accel = accelerator()
    machine = "q35,kernel-irqchip=split" if accel == "kvm" else "q35"
    # A busy host would fail the kernel's own tests of its timer and its clock.
    append = "console=ttyS0 panic=-1 reboot=t loglevel=4 no_timer_check tsc=nowatchdog"
    command = [qemu_path(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    command += ["-machine", machine, "-m", str(topology.memory), "-smp", str(processors)]
    # 57-bit addresses cost TCG a fifth level in each walk and nobody anything.
    command += ["-accel", accel if accel == "kvm" else "tcg,thread=multi"]
    command += ["-cpu", "host" if accel == "kvm" else "max,la57=off"]
    command += ["-kernel", str(kernel.image), "-initrd", str(initramfs(kernel))]
    command += ["-append", f"{append} {topology.append}".rstrip()]
    command += ["-audiodev", "none,id=silence", *topology.options]
    for device in topology.devices:
        command += ["-device", device]
    if topology.optimus:
        from lab.ssdt import optimus_table

        command += ["-acpitable", f"file={optimus_table()}"]
    command += ["-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"]
    command += ["-device", "virtio-9p-pci,fsdev=root,mount_tag=root,bus=pcie.0,addr=0x10"]
    command += ["-device", "virtio-serial-pci,id=serial,bus=pcie.0,addr=0x11"]
    command += ["-device", "virtserialport,bus=serial.0,chardev=agent,name=lab"]
    return command


def _with_rom(command: list[str], rom: Path) -> list[str]:
    return [f"{word},romfile={rom}" if ",id=gpu," in word else word for word in command]


def _start(
    command: list[str], folder: Path, topology: Topology, kernel: Kernel, snapshot: Path | None
) -> Lab:
    """Start QEMU, from a snapshot if there is one."""
    ours, theirs = socket.socketpair()
    # Whatever becomes of us, the machine ends with us.
    command = ["setpriv", "--pdeathsig", "KILL", "--", *command]
    command += ["-serial", f"file:{folder / 'console'}"]
    command += ["-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"]
    command += ["-chardev", f"socket,id=agent,fd={theirs.fileno()}"]
    if snapshot is not None:
        command += ["-incoming", "fd:0"]
    with (
        (folder / "qemu.log").open("wb") as log,
        (snapshot or Path(os.devnull)).open("rb") as state,
    ):
        qemu = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=state, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    theirs.close()
    return Lab(topology, kernel, qemu, folder, ours)


def _compile() -> None:
    """Our packages' code, ready in their __pycache__: a lab cannot keep it, and each command there
    would spend seconds on what has changed since, or on all where nothing was ever kept.
    """
    for package in ("romkit", "diag", "passthrough", "tests/lab"):
        # It fails where the checkout cannot be written; that only takes longer.
        compileall.compile_dir(CHECKOUT / package, quiet=2)


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """A lab's own folder. Those of runs that were killed go when the next lab starts."""
    for left in Path(tempfile.gettempdir()).glob("lab-*/lock"):
        with contextlib.suppress(OSError), left.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.parent, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        with (path / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield path


def _told(kernel: Kernel, modules: Sequence[str], coldplug: bool) -> dict[str, Any]:
    programs = Path(PYTHON).parent
    path = f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env = {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb")}
    # Compiled modules would be files that a test has left.
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    return {
        "tree": str(kernel.tree),
        "version": kernel.version,
        "env": env,
        "cwd": str(CHECKOUT),
        "modules": list(modules),
        "coldplug": coldplug,
        # Labs from one snapshot would all draw the same random numbers.
        "random": os.urandom(64).hex(),
    }


def _boot(
    topology: Topology, kernel: Kernel, rom: bytes | None, processors: int, folder: Path,
    told: dict[str, Any], booted: bool,
) -> Lab:  # fmt: skip
    """A lab that is up."""
    command = command_line(topology, kernel, processors)
    # KVM boots as fast as it would be restored.
    snapshot = None
    if not booted and accelerator() == "tcg":
        files = [Path(qemu_path()), kernel.image, initramfs(kernel)]
        snapshot = snapshot_path(command, files, [rom or b""])
    if rom is not None:
        (folder / "gpu.rom").write_bytes(rom)
        command = _with_rom(command, folder / "gpu.rom")
    started = time.monotonic()
    if snapshot is not None and snapshot.exists():
        snapshot.touch()
        lab = _start(command, folder, topology, kernel, snapshot)
        try:
            lab.go_on(told, RESTORE_LIMIT)
        except BaseException as error:
            lab.close()
            # What it was told cannot be had: that is no fault of the snapshot.
            if isinstance(error, SetUpError) or not isinstance(error, LabError):
                raise
            # Of another QEMU, or cut off by a full disk.
            snapshot.unlink(missing_ok=True)
        else:
            lab.boot_seconds, lab.restored = time.monotonic() - started, True
            return lab
    lab = _start(command, folder, topology, kernel, None)
    try:
        lab.await_kernel()
        if snapshot is not None:
            save(lab, snapshot)
        lab.go_on(told)
    except BaseException:
        lab.close()
        raise
    lab.boot_seconds = time.monotonic() - started
    return lab


@contextlib.contextmanager
def open_lab(
    topology: Topology,
    *,
    rom: bytes | None = None,
    modules: Sequence[str] = (),
    coldplug: bool = False,
    processors: int = 1,
    life: float = LIFE_LIMIT,
    booted: bool = False,
) -> Iterator[Lab]:
    """Start a lab; it is switched off at the end, whatever happens.

    Args:
        topology: what machine it is.
        rom: what its GPU has in the ROM BAR; without, what QEMU puts there.
        modules: kernel modules to load before the first command.
        coldplug: load the driver of every device, as a distribution's start does.
        processors: how many it has.
        life: seconds after its start-up at which it is ended in any case.
        booted: boot its kernel, although there may be a snapshot of one that is up.

    Raises:
        LabUnavailable: this machine cannot run it; says what is missing.
        LabError: it does not boot; shows the console.
    """
    qemu_path()
    kernel = fetch_kernel()
    _compile()
    with own_folder() as folder:
        told = _told(kernel, modules, coldplug)
        lab = _boot(topology, kernel, rom, processors, folder, told, booted)
        # A busy host boots slowly; that has a limit of its own.
        guard = threading.Timer(life, lab.kill)
        guard.daemon = True
        guard.start()
        try:
            yield lab
        finally:
            guard.cancel()
            lab.close()
