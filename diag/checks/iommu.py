"""The IOMMU and its groups: is it there, is the GPU alone, would VFIO take it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diag.checks.check import as_note, check
from diag.graphics import candidates
from diag.iommu import Isolation
from diag.iommu_support import UNITS, State, read_support, remove_parameter
from diag.isolation import Hierarchy
from diag.kernel import COMMAND_LINE
from diag.logs import read_log
from diag.viability import viability
from diag.ways import ways
from romkit.finding import Evidence, Severity
from romkit.render.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diag.device import PciDevice
    from diag.inventory import Inventory
    from romkit.finding import Finding

GROUPS = "/sys/kernel/iommu_groups"
INTERRUPTS = "/proc/interrupts"
_UNSAFE = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"


@check("iommu.on", "Is an IOMMU in use?", Severity.BLOCKER, "Linux, drivers/iommu")
def iommu_on(machine: Inventory) -> Iterable[Finding]:
    """Without an IOMMU in use there are no groups, and nothing can be handed to a guest.

    Processor, firmware, kernel and command line all have to play their part; the evidence says
    which of them does not, and which could not be looked at.
    """
    groups = machine.groups  # raises where they cannot be listed
    if not groups and not machine.devices:
        return  # no PCI at all: a container, or a directory without a sysfs
    support = read_support(machine)
    if groups:
        said = [Evidence(GROUPS, count(len(groups), "group"))]
        said += [Evidence(UNITS, ", ".join(support.units))] if support.units else []
        yield iommu_on.passed("machine", "an IOMMU is in use", *said)
        return
    parts = support.missing or tuple(p for p in support.parts if p.state is State.UNKNOWN)
    known = bool(support.missing)
    blame = "; ".join(f"{part.name}: {part.text}" for part in parts)
    remedy = "; ".join(dict.fromkeys(part.remedy for part in parts if part.remedy))
    title = f"no IOMMU is in use ({blame})" if parts else "no IOMMU is in use, and no cause is seen"
    if parts and not known:
        title = f"no IOMMU is in use; the cause could not be measured ({blame})"
    evidence = [Evidence(GROUPS, "empty or absent")]
    evidence += [Evidence(part.name, part.state.value) for part in support.parts]
    evidence += [item for part in parts for item in part.evidence]
    yield iommu_on.failed(
        "machine", title, *evidence, remedy=remedy or "look in the kernel log for DMAR or AMD-Vi"
    )


@check(
    "iommu.translation", "Does the host's own DMA go through the IOMMU?", Severity.NOTE,
    "Documentation/admin-guide/kernel-parameters.txt, iommu.passthrough; sysfs ABI, "
    "iommu_groups/N/type",
)  # fmt: skip
def iommu_translation(machine: Inventory) -> Iterable[Finding]:
    """In passthrough mode (iommu=pt) the host's devices use memory without translation.

    VFIO gives a device that is handed over a table of its own in either mode, so this stops
    nothing; the host's own devices are faster like this, and less confined.
    """
    for gpu in machine.gpus:
        group = machine.group_of(gpu)
        if group is None:
            continue
        path = f"{GROUPS}/{group.number}/type"
        kind = machine.host.text(path)
        if kind is None:
            continue  # before Linux 5.11
        subject, said = str(gpu.address), Evidence(path, kind)
        if kind == "identity":
            yield iommu_translation.failed(
                subject, "passthrough mode: the host uses it without translation; VFIO does not",
                said, remedy="nothing has to be done for a guest; iommu.passthrough=0 confines "
                "the host's devices too",
            )  # fmt: skip
        else:
            yield iommu_translation.passed(subject, f"translated for the host too ({kind})", said)


@check(
    "iommu.interrupts", "Are interrupts remapped?", Severity.BLOCKER,
    "drivers/vfio/vfio_iommu_type1.c, No interrupt remapping support",
)  # fmt: skip
def iommu_interrupts(machine: Inventory) -> Iterable[Finding]:
    """VFIO refuses a group on a machine that does not remap interrupts: a guest could forge them.

    The kernel puts IR- before the names of controllers whose interrupts it remaps.
    """
    if not machine.groups:
        return
    text = machine.host.text(INTERRUPTS)
    if text is None or "APIC" not in text:
        return  # not an x86 machine, or not in the capture
    # The names, not the lines: those hold counters.
    names = [word for word in text.split() if word.startswith("IR-")]
    if names:
        said = [Evidence(INTERRUPTS, ", ".join(sorted({name.split(":")[0] for name in names})[:4]))]
        yield iommu_interrupts.passed("machine", "interrupts are remapped", *said)
        return
    unsafe = machine.host.text(_UNSAFE)
    said = [Evidence(INTERRUPTS, "no controller with IR-")]
    if unsafe == "Y":
        yield iommu_interrupts.passed(
            "machine", "interrupts are not remapped, and VFIO is told to do without",
            *said, Evidence(_UNSAFE, unsafe),
        )  # fmt: skip
        return
    kernel = machine.kernel
    off = [p.key for p in kernel.parameters if p.key == "nointremap" or p.value == "nointremap"]
    off += ["intremap=off"] if "off" in kernel.values("intremap") else []
    remedy = (
        remove_parameter(machine, off[0]) if off else
        "switch on interrupt remapping (x2APIC, VT-d) in the firmware's setup; or, if you trust "
        "the guest: options vfio_iommu_type1 allow_unsafe_interrupts=1 in /etc/modprobe.d/vfio.conf"
    )  # fmt: skip
    yield iommu_interrupts.failed(
        "machine", "interrupts are not remapped: VFIO will refuse with EPERM", *said, remedy=remedy
    )


@check(
    "iommu.group", "Is the GPU alone in its IOMMU group?", Severity.WARNING,
    "drivers/iommu/iommu.c, pci_device_group; PCI Express Base Specification, 6.12",
)  # fmt: skip
def iommu_group(machine: Inventory) -> Iterable[Finding]:
    """A group is handed over as a whole: a stranger in it has to be given up by the host too.

    Bridges may stay with the host, and so may functions of the same card. The evidence says which
    hop on the way to the root joins the group, the remedy what would change it. Of a GPU that the
    host keeps (the processor's own, a server's console) it is only good to know.
    """
    hierarchy = Hierarchy(machine)
    given = candidates(machine)
    for gpu in machine.gpus:
        for finding in _sharing(hierarchy, gpu):
            yield finding if gpu in given else as_note(finding)


def _sharing(hierarchy: Hierarchy, gpu: PciDevice) -> Iterable[Finding]:
    explained = hierarchy.explain(gpu)
    group, verdict = explained.group, explained.verdict
    if group is None or verdict is None:
        return
    subject = str(gpu.address)
    members = Evidence(f"{GROUPS}/{group.number}/devices", " ".join(map(str, group.addresses)))
    if verdict.isolation is Isolation.ISOLATED:
        yield iommu_group.passed(subject, f"isolated in group {group.number}", members)
    elif verdict.isolation is Isolation.UNKNOWN:
        names = ", ".join(map(str, verdict.unknown))
        title = f"group {group.number}: what {names} is, is not known"
        yield iommu_group.unknown(subject, title)
    else:
        names = ", ".join(map(str, verdict.strangers[:8]))
        causes = [Evidence(str(m.hops[0].address), m.text) for m in explained.merges]
        yield iommu_group.failed(
            subject, f"shares group {group.number} with {names}", members, *causes,
            remedy=" Or: ".join(
                f"{way.text}{f' Cost: {way.cost}.' if way.cost else ''}"
                for way in ways(hierarchy, explained)
            ),
        )  # fmt: skip


@check(
    "iommu.viable", "Would VFIO take the GPU's group?", Severity.BLOCKER,
    "drivers/vfio/vfio.c (to 5.18), driver_managed_dma (from 5.19)",
)  # fmt: skip
def iommu_viable(machine: Inventory) -> Iterable[Finding]:
    """VFIO takes a group only while no driver of the host uses a member of it.

    That the host uses the card itself is no fault: it is bound to vfio-pci when a guest starts. A
    stranger that a driver holds keeps the group from being viable until it is given up too. Of a
    GPU that the host keeps it is only good to know.
    """
    given = candidates(machine)
    for gpu in machine.gpus:
        for finding in _viability(machine, gpu):
            yield finding if gpu in given else as_note(finding)


def _viability(machine: Inventory, gpu: PciDevice) -> Iterable[Finding]:
    group = machine.group_of(gpu)
    if group is None:
        return
    found = viability(machine, group)
    subject = str(gpu.address)
    said = [Evidence(f"/sys/bus/pci/devices/{a}/driver", name) for a, name in found.holders]
    others = [(a, name) for a, name in found.holders if not a.same_slot(gpu.address)]
    if others:
        names = ", ".join(f"{address} ({name})" for address, name in others)
        places = " ".join(str(address) for address, _ in others)
        yield iommu_viable.failed(
            subject, f"group {found.group} is not viable: held by {names}", *said,
            remedy=f"bind to vfio-pci before the guest starts, or unbind: {places}",
        )  # fmt: skip
    elif found.unknown:
        names = ", ".join(map(str, found.unknown))
        yield iommu_viable.unknown(subject, f"what {names} in its group is, is not known")
    elif found.holders:
        names = ", ".join(f"{address} ({name})" for address, name in found.holders)
        title = f"group {found.group} becomes viable when the host gives up {names}"
        yield iommu_viable.passed(subject, title, *said)
    else:
        rule = Evidence("rule", found.rule)
        yield iommu_viable.passed(subject, f"group {found.group} is viable", rule)


@check(
    "iommu.override", "Does the ACS override do anything, and what does it cost?",
    Severity.WARNING, "Documentation/admin-guide/kernel-parameters.txt has no pcie_acs_override",
)  # fmt: skip
def iommu_override(machine: Inventory) -> Iterable[Finding]:
    """pcie_acs_override needs a patched kernel: Linux itself ignores it.

    With the patch, groups are parted that the hardware does not keep apart, which is not isolation.
    """
    kernel = machine.kernel
    value = kernel.value("pcie_acs_override")
    if value is None:
        if machine.groups and kernel.command_line is not None:
            none = Evidence(COMMAND_LINE, "no pcie_acs_override")
            yield iommu_override.passed("machine", "no ACS override is asked for", none)
        return
    said = Evidence(COMMAND_LINE, f"pcie_acs_override={value}")
    remedy = remove_parameter(machine, f"pcie_acs_override={value}")
    known, line = _override_known(machine)
    seen = () if line is None else (line,)
    if known is None:
        yield iommu_override.unknown(
            "machine", "pcie_acs_override is there; whether this kernel knows it is not known",
            remedy="look at the start of the kernel log for: PCIe ACS overrides enabled",
        )  # fmt: skip
    elif known:
        yield iommu_override.failed(
            "machine", "an ACS override is at work: groups are parted that hardware does not part",
            said, *seen, remedy=f"if you cannot trust the guest with root: {remedy}",
        )  # fmt: skip
    else:
        yield iommu_override.failed(
            "machine", "pcie_acs_override is ignored: this kernel has no ACS override patch",
            said, *seen, remedy=remedy,
        )  # fmt: skip


def _override_known(machine: Inventory) -> tuple[bool | None, Evidence | None]:
    """Whether the kernel has the patch: it warns of it at its start, whatever the value.

    Other kernels say from Linux 5.14 on that they do not know the parameter.
    """
    log = read_log(machine.host)
    for line in log.lines if log else ():
        if "PCIe ACS overrides enabled" in line:
            return True, Evidence(log.source if log else "", line.strip()[:160])
        if "Unknown kernel command line parameters" in line and "pcie_acs_override" in line:
            return False, Evidence(log.source if log else "", line.strip()[:160])
    if log is not None and log.complete:
        return False, Evidence(log.source, "no warning of ACS overrides at the kernel's start")
    torn = Hierarchy(machine).torn()
    if torn:
        return True, Evidence(GROUPS, f"{torn[0].members[0]} is apart without ACS")
    return None, None


@check(
    "iommu.groups-true", "Are the groups those that ACS lets expect?", Severity.WARNING,
    "drivers/iommu/iommu.c, pci_device_group",
)  # fmt: skip
def iommu_groups_true(machine: Inventory) -> Iterable[Finding]:
    """Groups that are finer than the hardware's ACS are not isolation.

    An ACS override patch makes them, or a quirk of the kernel that diag does not know.
    """
    if not machine.groups:
        return
    hierarchy = Hierarchy(machine)
    torn = hierarchy.torn()
    for merge in torn:
        yield iommu_groups_true.failed(
            ", ".join(map(str, merge.members[:8])),
            "in groups of their own although nothing keeps them apart",
            *(Evidence(str(hop.address), hop.text) for hop in merge.hops[:4]),
            remedy="an ACS override patch does this: do not trust the guest more than the host",
        )
    # What is in one group anyhow cannot be torn, whatever its ACS.
    unread = [h.unread for merge in hierarchy.torn(certain=False) for h in merge.hops]
    if not torn and (error := next((e for e in unread if e is not None), None)):
        title = f"ACS could not be measured: {error.why}"
        yield iommu_groups_true.unknown("machine", title, error)
    elif not torn:
        yield iommu_groups_true.passed("machine", "no group is finer than ACS lets expect")


@check(
    "iommu.amd-on", "Is there an amd_iommu=on, which means nothing?", Severity.NOTE,
    "Documentation/admin-guide/kernel-parameters.txt, amd_iommu=",
)  # fmt: skip
def iommu_amd_on(machine: Inventory) -> Iterable[Finding]:
    """amd_iommu=on is no value: an AMD IOMMU is on unless it is turned off. It does no harm."""
    words = [w for v in machine.kernel.values("amd_iommu") for w in v.split(",")]
    if not words:
        return
    said = Evidence(COMMAND_LINE, f"amd_iommu={','.join(words)}")
    if "on" in words:
        yield iommu_amd_on.failed(
            "machine", "amd_iommu=on means nothing to the kernel", said,
            remedy=f"{remove_parameter(machine, 'amd_iommu=on')} (it does no harm)",
        )  # fmt: skip
    else:
        yield iommu_amd_on.passed("machine", "amd_iommu has a value that the kernel knows", said)


@check(
    "iommu.pci-parameters", "Does a pci= parameter take isolation away?", Severity.WARNING,
    "Documentation/admin-guide/kernel-parameters.txt, pci=disable_acs_redir, pci=config_acs",
)  # fmt: skip
def iommu_pci_parameters(machine: Inventory) -> Iterable[Finding]:
    """pci=disable_acs_redir= turns ACS off where it was; pci=config_acs= sets it bit by bit.

    pci=nommconf hides the extended config, and ACS with it.
    """
    values = machine.kernel.values("pci")
    if not values:
        return
    # Lists of addresses are parted by semicolons, so that a comma ends an option.
    options = [option for value in values for option in value.split(",")]
    bad = [
        option
        for option in options
        if option.partition("=")[0] in ("disable_acs_redir", "config_acs", "nommconf")
    ]
    for option in bad:
        yield iommu_pci_parameters.failed(
            "machine", f"pci={option} changes what ACS keeps apart",
            Evidence(COMMAND_LINE, f"pci={option}"),
            remedy=remove_parameter(machine, f"pci={option}"),
        )  # fmt: skip
    if not bad:
        yield iommu_pci_parameters.passed(
            "machine", "no pci= parameter changes ACS", Evidence(COMMAND_LINE, f"pci={values[-1]}")
        )


#: All checks of this subject.
IOMMU_CHECKS = (
    iommu_on, iommu_translation, iommu_interrupts, iommu_group, iommu_viable, iommu_override,
    iommu_groups_true, iommu_amd_on, iommu_pci_parameters,
)  # fmt: skip
