"""Boots a lab."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.guest import CHECKOUT, Lab
from lab.initramfs import initramfs
from lab.job import LIFE_LIMIT, Done, LabError, Running
from lab.kernel import Kernel, fetch_kernel
from lab.packages import LabUnavailable
from lab.topology import Topology

__all__ = ["CHECKOUT", "QEMU", "Done", "Lab", "LabError", "Running", "open_lab", "qemu_path"]

QEMU = "qemu-system-x86_64"
HERE = Path(__file__).parent


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


def _command(
    topology: Topology, kernel: Kernel, folder: Path, rom: bytes | None, processors: int, port: int
) -> list[str]:
    accel = accelerator()
    machine = "q35,kernel-irqchip=split" if accel == "kvm" else "q35"
    # A busy host would fail the kernel's own test of its timer.
    append = "console=ttyS0 panic=-1 reboot=t loglevel=4 no_timer_check"
    # Whatever becomes of us, the machine ends with us.
    command = ["setpriv", "--pdeathsig", "KILL", "--"]
    command += [qemu_path(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    command += ["-machine", machine, "-m", str(topology.memory), "-smp", str(processors)]
    # 57-bit addresses cost TCG a fifth level in each walk and nobody anything.
    command += ["-accel", accel if accel == "kvm" else "tcg,thread=multi"]
    command += ["-cpu", "host" if accel == "kvm" else "max,la57=off"]
    command += ["-kernel", str(kernel.image), "-initrd", str(folder / "initramfs")]
    command += ["-append", f"{append} {topology.append}".rstrip()]
    command += ["-serial", f"file:{folder / 'console'}"]
    command += ["-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"]
    command += ["-audiodev", "none,id=silence", *topology.options]
    for device in topology.devices:
        has_rom = rom is not None and ",id=gpu," in device
        command += ["-device", f"{device},romfile={folder / 'gpu.rom'}" if has_rom else device]
    if rom is not None:
        (folder / "gpu.rom").write_bytes(rom)
    if topology.optimus:
        from lab.ssdt import optimus_table

        command += ["-acpitable", f"file={optimus_table()}"]
    command += ["-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"]
    command += ["-device", "virtio-9p-pci,fsdev=root,mount_tag=root,bus=pcie.0,addr=0x10"]
    command += ["-device", "virtio-serial-pci,id=serial,bus=pcie.0,addr=0x11"]
    command += ["-chardev", f"socket,id=agent,fd={port}"]
    command += ["-device", "virtserialport,bus=serial.0,chardev=agent,name=lab"]
    return command


def _set_up(modules: Sequence[str], coldplug: bool) -> dict[str, Any]:
    programs = Path(sys.executable).parent
    path = f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env = {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb")}
    # Compiled modules would be files that a test has left.
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    return {"env": env, "cwd": str(CHECKOUT), "modules": list(modules), "coldplug": coldplug}


@contextlib.contextmanager
def open_lab(
    topology: Topology,
    *,
    rom: bytes | None = None,
    modules: Sequence[str] = (),
    coldplug: bool = False,
    processors: int = 1,
    life: float = LIFE_LIMIT,
) -> Iterator[Lab]:
    """Boot a lab; it is switched off at the end, whatever happens.

    Args:
        topology: what machine it is.
        rom: what its GPU has in the ROM BAR; without, what QEMU puts there.
        modules: kernel modules to load before the first command.
        coldplug: load the driver of every device, as a distribution's start does.
        processors: how many it has.
        life: seconds after its start-up at which it is ended in any case.

    Raises:
        LabUnavailable: this machine cannot run it; says what is missing.
        LabError: it does not boot; shows the console.
    """
    qemu_path()
    kernel = fetch_kernel()
    with tempfile.TemporaryDirectory(prefix="lab-") as name:
        folder = Path(name)
        files = {
            "agent.py": (HERE / "agent.py").read_bytes(),
            "frames.py": (HERE / "frames.py").read_bytes(),
            "set-up.json": json.dumps(_set_up(modules, coldplug)).encode(),
            "tree": f"{kernel.tree}\n".encode(),
            "version": f"{kernel.version}\n".encode(),
            "python": f"{Path(sys._base_executable).resolve()}\n".encode(),
        }
        (folder / "initramfs").write_bytes(initramfs(kernel, files))
        ours, theirs = socket.socketpair()
        command = _command(topology, kernel, folder, rom, processors, theirs.fileno())
        started = time.monotonic()
        with (folder / "qemu.log").open("wb") as log:
            qemu = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        theirs.close()
        guard = threading.Timer(life, qemu.kill)
        guard.daemon = True
        lab = Lab(topology, kernel, qemu, folder, ours)
        try:
            lab.await_boot()
            lab.boot_seconds = time.monotonic() - started
            # A busy host boots slowly; that has a limit of its own.
            guard.start()
            # Read by now. Should we be killed, little is left behind.
            (folder / "initramfs").unlink()
            (folder / "gpu.rom").unlink(missing_ok=True)
            yield lab
        finally:
            guard.cancel()
            lab.close()
