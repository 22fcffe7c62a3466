"""The check of GVT-g: a part of Intel's integrated GPU for the VM."""

from __future__ import annotations

from collections.abc import Iterable

from diag.checks.check import Check, check
from diag.device import DEVICES, PciDevice
from diag.errors import Unreadable
from diag.inventory import Inventory
from diag.kernel import COMMAND_LINE, ModuleState
from diag.modprobe import Modprobe, read_modprobe
from diag.processor import CPU_INFO, Processor, read_processor
from romkit.finding import Evidence, Finding, Severity

INTEL = 0x8086
#: Four generations have these two models; steppings tell them apart, and GVT-g does not mind.
_KABY = "Kaby, Coffee, Whiskey or Amber Lake"
#: Models of family 6 with a GPU that GVT-g divides (Linux, arch/x86/include/asm/intel-family.h;
#: drivers/gpu/drm/i915/intel_gvt.c, is_supported_device).
_GENERATIONS = {
    0x3D: "Broadwell", 0x47: "Broadwell", 0x4E: "Skylake", 0x5E: "Skylake", 0x5C: "Broxton",
    0x8E: _KABY, 0x9E: _KABY, 0xA5: "Comet Lake", 0xA6: "Comet Lake",
}  # fmt: skip


@check(
    "host.gvt-g",
    "Can the integrated GPU be shared with a VM (GVT-g)?",
    Severity.NOTE,
    "Linux, drivers/gpu/drm/i915/intel_gvt.c; drivers/gpu/drm/i915/Kconfig, DRM_I915_GVT_KVMGT",
)
def gvt_g(machine: Inventory) -> Iterable[Finding]:
    """A muxless GPU has no output of its own: in the guest, a GPU with a picture has to stand
    beside it. GVT-g gives the VM a part of Intel's GPU, from Broadwell to Comet Lake, where i915 is
    started with enable_gvt=1 and kvmgt is loaded. Then the GPU offers mdev types.
    """
    gpu = next((g for g in machine.gpus if g.ids and g.ids.vendor == INTEL), None)
    processor = read_processor(machine.host)
    if gpu is None or processor is None or processor.vendor != "GenuineIntel":
        return
    types = machine.host.names(f"{DEVICES}/{gpu.address}/mdev_supported_types")
    if types:
        place = Evidence(f"{DEVICES}/{gpu.address}/mdev_supported_types", " ".join(types))
        yield gvt_g.passed(str(gpu.address), "GVT-g offers parts of this GPU", place)
        return
    generation = _GENERATIONS.get(processor.model) if processor.family == 6 else None
    cpu = Evidence(
        CPU_INFO, f"{processor.name}, family {processor.family}, model {processor.model}"
    )
    if generation is None:
        yield _impossible(machine, gpu, cpu)
        return
    yield from _why_not(machine, gpu, processor, generation)


def _impossible(machine: Inventory, gpu: PciDevice, cpu: Evidence) -> Finding:
    return gvt_g.failed(
        str(gpu.address),
        "GVT-g is not for this processor: it works from Broadwell to Comet Lake",
        cpu,
        remedy="give the VM a virtual display (virtio-gpu, QXL), or use Looking Glass",
    )


def _why_not(
    machine: Inventory, gpu: PciDevice, processor: Processor, generation: str
) -> Iterable[Finding]:
    kernel = machine.kernel
    evidence = [Evidence(CPU_INFO, f"{processor.name}: {generation}")]
    missing, steps = [], []
    if gpu.driver != "i915":
        missing.append(f"the driver is {gpu.driver or 'none'}")
        steps.append("let i915 have the GPU")
        evidence.append(Evidence(f"{DEVICES}/{gpu.address}/driver", gpu.driver or "none"))
    option = kernel.config("CONFIG_DRM_I915_GVT_KVMGT")
    if option == "n" or kernel.state("kvmgt") is ModuleState.ABSENT:
        missing.append("the kernel has no kvmgt")
        steps.append("use a kernel with CONFIG_DRM_I915_GVT_KVMGT=m")
        where = (
            f"{kernel.config_path}: CONFIG_DRM_I915_GVT_KVMGT" if option else "modules.dep: kvmgt"
        )
        evidence.append(Evidence(where, option or "absent"))
    elif not kernel.runs("kvmgt"):
        missing.append("kvmgt is not loaded")
        steps.append("run: modprobe kvmgt")
        evidence.append(Evidence("/proc/modules: kvmgt", "not loaded"))
    enabled = _enabled(machine)
    if enabled.value not in ("Y", "1"):
        missing.append("i915 was not started with enable_gvt=1")
        steps.append(machine.boot_loader.add("i915.enable_gvt=1"))
    evidence.append(enabled)
    if not missing:
        yield gvt_g.failed(
            str(gpu.address),
            "everything is set for GVT-g, and the GPU offers no part: the kernel's log says why",
            *evidence,
            remedy="run: dmesg | grep -i gvt; guc must be off (i915.enable_guc=0)",
        )
        return
    yield gvt_g.failed(
        str(gpu.address),
        f"GVT-g is possible on {generation}, but {', '.join(missing)}",
        *evidence,
        remedy="; ".join(steps),
    )


def _enabled(machine: Inventory) -> Evidence:
    """Whether i915 was told to: as it says itself, which root alone may read, or as it was set."""
    path = "/sys/module/i915/parameters/enable_gvt"
    try:
        said = machine.host.text(path)
    except Unreadable:
        said = None
    if said is not None:
        return Evidence(path, said)
    value = machine.kernel.value("i915.enable_gvt")
    if value is not None:
        return Evidence(f"{COMMAND_LINE}: i915.enable_gvt", value)
    option = Modprobe(read_modprobe(machine.host)).option("i915", "enable_gvt")
    if option is not None:
        return Evidence(option[1].where, option[0])
    return Evidence("i915.enable_gvt", "not set")


GVT_CHECKS: tuple[Check, ...] = (gvt_g,)
