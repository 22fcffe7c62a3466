"""The kinds of steps, each with its way back."""

from __future__ import annotations

from passthrough.step import Step
from passthrough.steps.affinity import PinGuest
from passthrough.steps.attribute import SetAttribute
from passthrough.steps.bbswitch import SetBbswitch
from passthrough.steps.cpuset import AllowCpus, EnableController, EnterScope, MakePartition
from passthrough.steps.domain import RunDomain
from passthrough.steps.driver import Bind, Unbind
from passthrough.steps.folder import MakeFolder
from passthrough.steps.framebuffer import ReleaseConsole, ReleaseFramebuffer
from passthrough.steps.guard import Guard
from passthrough.steps.hugepages import SetPagesApart
from passthrough.steps.image import CreateImage
from passthrough.steps.mdev import CreateMdev
from passthrough.steps.module import LoadModule, UnloadModule, load_vfio
from passthrough.steps.nvhda import SetNvhda
from passthrough.steps.nvidia import PersistenceOff, RefreshGpu
from passthrough.steps.owner import GiveNode
from passthrough.steps.presence import Remove, Rescan
from passthrough.steps.probe import Probe
from passthrough.steps.program import RunProgram
from passthrough.steps.reset import Confirm, ResetDevice
from passthrough.steps.rom import ReadRom
from passthrough.steps.runtime_pm import AwaitPower, SetPowerControl
from passthrough.steps.tap import MakeTap
from passthrough.steps.unit import RunUnit

__all__ = [
    "KINDS", "AllowCpus", "AwaitPower", "Bind", "Confirm", "CreateImage", "CreateMdev",
    "EnableController", "EnterScope", "GiveNode", "Guard", "LoadModule", "MakeFolder",
    "MakePartition", "MakeTap", "PersistenceOff", "PinGuest", "Probe", "ReadRom", "RefreshGpu",
    "ReleaseConsole", "ReleaseFramebuffer", "Remove", "Rescan", "ResetDevice", "RunDomain",
    "RunProgram", "RunUnit", "SetAttribute", "SetBbswitch", "SetNvhda", "SetPagesApart",
    "SetPowerControl", "Unbind", "UnloadModule", "load_vfio",
]  # fmt: skip

_STEPS: tuple[type[Step], ...] = (
    AllowCpus, AwaitPower, Bind, Confirm, CreateImage, CreateMdev, EnableController, EnterScope,
    GiveNode, Guard, LoadModule, MakeFolder, MakePartition, MakeTap, PersistenceOff, PinGuest,
    Probe, ReadRom, RefreshGpu, ReleaseConsole, ReleaseFramebuffer, Remove, Rescan, ResetDevice,
    RunDomain, RunProgram, RunUnit, SetAttribute, SetBbswitch, SetNvhda, SetPagesApart,
    SetPowerControl, Unbind, UnloadModule,
)  # fmt: skip

#: What journals may name.
KINDS: dict[str, type[Step]] = {step.kind: step for step in _STEPS}
