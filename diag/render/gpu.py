"""One GPU for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from diag.iommu import Isolation
from diag.power import GpuPower
from romkit.finding import Verdict
from romkit.render.report import findings_lines
from romkit.render.text import count, human_size, plain

if TYPE_CHECKING:
    from diag.device import PciDevice
    from diag.gpu import Gpu
    from romkit.render.style import Style


def gpu_text(gpu: Gpu, style: Style) -> str:
    """Everything about a GPU: what it is, what state it is in, and the findings about it."""
    device = gpu.device
    lines = [style.bold(f"{device.address} {plain(gpu.name)}")]
    lines += [f"  {label:<10} {value}" for label, value in _facts(gpu, style)]
    for other, name in gpu.siblings:
        lines.append(f"  {'with':<10} {other.address} {plain(name)}, {_driver(other)}")
    shown = [finding for finding in gpu.findings if finding.verdict is not Verdict.PASS]
    lines += findings_lines(shown, style, evidence=True)
    passed = len(gpu.findings) - len(shown)
    if passed:
        lines.append(style.dim(f"  {count(passed, 'finding')} more: all is as it should be"))
    return "\n".join(lines)


def _facts(gpu: Gpu, style: Style) -> Iterator[tuple[str, str]]:
    device = gpu.device
    kind = device.class_code.name if device.class_code else None
    ids = [
        f"{device.ids or 'no ids'}",
        f"class {device.class_code or 'unknown'}{f' ({kind})' if kind else ''}",
    ]
    ids += [f"rev {device.revision:02x}"] if device.revision is not None else []
    ids += [f"subsystem {device.subsystem}"] if device.subsystem else []
    ids += ["part of the processor"] if gpu.integrated else []
    yield "ids", ", ".join(ids)
    yield "driver", _driver(device)
    if gpu.modules:
        yield "modules", plain(", ".join(gpu.modules))
    yield "power", _power(gpu, style)
    for switch in gpu.switches:
        yield switch.name, f"loaded, {plain(switch.says) if switch.says else 'not asked'}"
    yield "group", _group(gpu, style)
    if device.boot_vga is not None:
        yield "boot", "the firmware booted with it" if device.boot_vga else "booted with another"
    for bar in device.bars:
        resizable = f", could be {_sizes(bar.sizes)}" if bar.sizes else ""
        memory = "memory" if bar.memory else "ports"
        place = f"at {bar.start:#x}" if bar.start else "without an address"
        yield f"BAR {bar.index}", f"{human_size(bar.size)} {memory} {place}{resizable}"
    yield "outputs", _outputs(gpu)
    yield "ROM", _rom(gpu)
    if device.link is not None:
        most = f" of x{device.link.max_width}" if device.link.max_width else ""
        yield "link", f"{plain(device.link.speed)}, x{device.link.width}{most}"
    methods = ", ".join(device.reset_methods or ())
    if device.msi is not None:
        yield "interrupt", f"by message ({plain(device.msi)})"
    yield "reset", plain(methods) or ("possible" if device.can_reset else "none")
    yield "held by", _holders(gpu)


def _driver(device: PciDevice) -> str:
    driver = plain(device.driver) if device.driver else "no driver"
    if device.driver_override is None:
        return driver
    return f"{driver} (driver_override {plain(device.driver_override)})"


def _power(gpu: Gpu, style: Style) -> str:
    power = gpu.power.power
    paint = style.yellow
    if power in (GpuPower.OFF, GpuPower.GONE):
        paint = style.red
    elif power in (GpuPower.AWAKE, GpuPower.ASLEEP):
        paint = style.green
    by = f" by {gpu.power.by}" if gpu.power.by else ""
    stated = [gpu.device.power_state, gpu.device.runtime_status]
    said = ", ".join(plain(word) for word in stated if word)
    return paint(power.value) + by + (f" ({said})" if said else "")


def _group(gpu: Gpu, style: Style) -> str:
    if gpu.group is None or gpu.verdict is None:
        return style.red("none: no IOMMU is in use")
    number, strangers = gpu.group.number, " ".join(map(str, gpu.verdict.strangers))
    if gpu.verdict.isolation is Isolation.ISOLATED:
        bridges = " ".join(map(str, gpu.verdict.bridges))
        return (
            f"{number}, {style.green('isolated')}{f' (with its port {bridges})' if bridges else ''}"
        )
    if gpu.verdict.isolation is Isolation.STRANGERS:
        return f"{number}, {style.yellow('shared')} with {strangers}; diag iommu says why"
    return f"{number}, who is in it is not known"


def _sizes(sizes: tuple[int, ...]) -> str:
    return f"{human_size(sizes[0])} to {human_size(sizes[-1])}"


def _rom(gpu: Gpu) -> str:
    size = gpu.device.rom_size
    names = [s.name if s.name != "ROM BAR" else f"ROM BAR of {human_size(size or 0)}"
             for s in gpu.roms.found]  # fmt: skip
    if gpu.roms.unread:
        names.append("ACPI tables not looked at (root)")
    if gpu.roms.unclear:
        names.append("a _ROM of some device")
    return ", ".join(names) or "none to be found"


def _outputs(gpu: Gpu) -> str:
    if gpu.connectors is None:
        return "not known (only a display driver lists them)"
    shown = (f"{o.name} {o.status}" if o.status else o.name for o in gpu.connectors)
    return plain(", ".join(shown)) or "none"


def _holders(gpu: Gpu) -> str:
    if gpu.holders is None:
        return "not known"
    if gpu.holders.found:
        return ", ".join(f"{plain(h.name)} ({h.pid})" for h in gpu.holders.found)
    hidden = gpu.holders.hidden
    return f"not known of {hidden} processes of other users" if hidden else "nobody"
