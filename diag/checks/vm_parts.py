"""What checks of a VM's description share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from diag.demand import NotAVm
from diag.device import PciDevice
from diag.errors import Unreadable
from diag.inventory import Inventory
from diag.vm_file import Hostdev, VmFile, parse_vm_file

#: One reading serves all checks.
_parsed = lru_cache(maxsize=4)(parse_vm_file)


def vm_of(machine: Inventory) -> VmFile | None:
    """The VM that is meant; None where none was named.

    Raises:
        Unreadable: its description cannot be understood.
    """
    if machine.vm_text is None:
        return None
    try:
        return _parsed(machine.vm_text)
    except NotAVm as error:
        raise Unreadable("the VM's description", error.message, hint=error.hint) from None


def passed_gpus(machine: Inventory, vm: VmFile) -> Iterator[tuple[PciDevice, Hostdev]]:
    """The GPUs of this machine that the VM gets, and how."""
    for hostdev in vm.hostdevs:
        gpu = None if hostdev.source is None else machine.device(hostdev.source)
        if gpu is not None and gpu.is_gpu:
            yield gpu, hostdev
