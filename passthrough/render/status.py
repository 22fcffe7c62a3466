"""Cards as they are now, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diag.power import GpuPower
from passthrough.render.history import run_lines, run_record
from romkit.render.text import count, plain

if TYPE_CHECKING:
    from diag.power import Switch
    from passthrough.card import Card, Part, Runs
    from romkit.render.style import Style


def status_text(cards: Sequence[Card], runs: Runs | None, style: Style) -> str:
    """Each card with its parts, then the runs whose effect is still there.

    Args:
        cards: all of them.
        runs: None for a machine that is not this one.
        style: colours.
    """
    lines = [] if cards else ["there is no GPU here"]
    for card in cards:
        lines.append(style.bold(plain(card.name)))
        lines += _table([_cells(part) for part in card.parts], card.parts, style)
        lines += [f"  {switch.name:<9} {_switch(switch)}" for switch in card.switches]
    return "\n".join(lines + ([] if runs is None else _run_lines(runs, style)))


def _table(rows: list[tuple[str, ...]], parts: Sequence[Part], style: Style) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row, part in zip(rows, parts, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[2] = _paint(part.power.power, style)(cells[2])
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def _paint(power: GpuPower, style: Style) -> Any:
    if power in (GpuPower.OFF, GpuPower.GONE):
        return style.red
    return style.yellow if power is GpuPower.UNKNOWN else style.green


def _cells(part: Part) -> tuple[str, ...]:
    device = part.device
    said = ", ".join(plain(w) for w in (device.power_state, device.runtime_status) if w)
    by = f" by {part.power.by}" if part.power.by else ""
    driver = plain(device.driver or "no driver")
    unread = device.unread.get("driver_override")
    if unread is not None and not unread.needs_root:
        # While a driver lets go of a function, its link is gone and its lock is held.
        driver += f" (driver_override: {plain(unread.why)})"
    if device.driver_override:
        driver += f" (driver_override {plain(device.driver_override)})"
    group = "no group" if device.group is None else f"group {device.group}"
    return (
        part.role, str(device.address),
        part.power.power.value + by + (f" ({said})" if said else ""), driver, group, _holders(part),
    )  # fmt: skip


def _holders(part: Part) -> str:
    if part.holders is None:
        return "held by: not known"
    if part.holders:
        return "held by " + ", ".join(f"{plain(h.name)} ({h.pid})" for h in part.holders)
    return f"{count(part.hidden, 'process')} not looked into" if part.hidden else ""


def _switch(switch: Switch) -> str:
    if switch.says is not None:
        return plain(switch.says)
    if not switch.there:
        return "loaded, without its file"
    return "loaded, not asked (--wake asks it)"


def _run_lines(runs: Runs, style: Style) -> list[str]:
    if runs.unread is not None:
        return [f"runs: not known ({plain(runs.unread.message)})"]
    lines = []
    for entry in runs.pending:
        lines += run_lines(entry, style)
    if runs.pending:
        lines.append("  → passthrough recover puts this machine back")
    for entry in runs.kept:
        lines += run_lines(entry, style)
    return lines


def status_record(cards: Sequence[Card], runs: Runs | None) -> dict[str, Any]:
    """The same as plain JSON types; null where the machine does not say."""
    return {
        "cards": [_card_record(card) for card in cards],
        "runs": None
        if runs is None
        else {
            "pending": [run_record(entry) for entry in runs.pending],
            "kept": [run_record(entry) for entry in runs.kept],
            "unknown": runs.unread.message if runs.unread else None,
        },
    }


def _card_record(card: Card) -> dict[str, Any]:
    return {
        "name": card.name,
        "parts": [_part_record(part) for part in card.parts],
        "switches": {
            switch.name: {"file": switch.there, "says": switch.says, "state": switch.state}
            for switch in card.switches
        },
    }


def _part_record(part: Part) -> dict[str, Any]:
    device = part.device
    holders = None
    if part.holders is not None:
        holders = [{"pid": h.pid, "name": h.name, "nodes": list(h.nodes)} for h in part.holders]
    return {
        "role": part.role,
        "address": str(device.address),
        "power": part.power.power.value,
        "power_by": part.power.by,
        "power_state": device.power_state,
        "runtime_status": device.runtime_status,
        "power_control": device.power_control,
        "driver": device.driver,
        "driver_override": device.driver_override,
        "group": device.group,
        "holders": holders,
        "processes_not_looked_into": part.hidden,
        "unread": {name: error.why for name, error in device.unread.items()},
    }
