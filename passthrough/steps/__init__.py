"""The kinds of steps, each with its way back."""

from __future__ import annotations

from passthrough.step import Step
from passthrough.steps.attribute import SetAttribute
from passthrough.steps.driver import Bind, Unbind
from passthrough.steps.module import LoadModule, UnloadModule, load_vfio
from passthrough.steps.presence import Remove, Rescan

__all__ = ["KINDS", "Bind", "LoadModule", "Remove", "Rescan", "SetAttribute", "Unbind",
           "UnloadModule", "load_vfio"]  # fmt: skip

#: What journals may name.
KINDS: dict[str, type[Step]] = {
    step.kind: step
    for step in (SetAttribute, Bind, Unbind, LoadModule, UnloadModule, Remove, Rescan)
}
