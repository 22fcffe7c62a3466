r"""An AC adapter and a battery for a guest, in one SSDT below ``\_SB``.

Mobile NVIDIA drivers look for a battery before they trust the machine to be a notebook: NVIDIA's
open module walks all devices for ``_BIX``, then ``_BIF``, and wants a rechargeable one
(kernel-open/nvidia/nv-acpi.c). Names of QEMU's own are not used, so the table fits every machine
type and firmware.

What else a battery does to a guest:

- NVIDIA's open module takes the machine for a notebook and, on Ampere and later, turns runtime
  power management (RTD3) on by default.
- Windows 11 treats a PS/2 or virtio mouse as a touchpad and ignores it while keys are held: give
  the guest a USB mouse.
- The desktop shows a battery, and may sleep or dim when it is said to be nearly empty. The charge
  that is set stays for ever.

ACPI 6.5, section 10.2 (batteries) and 10.3 (adapter).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from romkit.acpi.aml import (
    DefinitionBlock,
    Device,
    EisaId,
    Integer,
    Method,
    Name,
    Noop,
    Ref,
    Scope,
    String,
)
from romkit.acpi.aml.data import Value
from romkit.acpi.errors import AcpiError

#: An unknown value in all battery objects (10.2.2).
UNKNOWN = 0xFFFFFFFF


class Unit(Enum):
    """What capacities and rates count. Windows wants mWh (mW), and knows no other."""

    MWH = 0
    MAH = 1


class State(Enum):
    """What the battery does, as `_BST` says it (10.2.2)."""

    IDLE = 0
    DISCHARGING = 1
    CHARGING = 2


@dataclass(frozen=True, slots=True)
class Battery:
    """What the guest is told.

    Attributes:
        capacity: when it is full, as designed and as last charged, in `unit`.
        percent: how full it is, 0 to 100.
        unit: of the capacity, and per hour of the rate.
        state: what it does. Linux calls an idle one "Full" when it is full.
        rate: how fast, in mW or mA; 0 for an idle one.
        voltage: millivolts, as designed and now.
        online: whether the AC adapter has power.
        present: whether there is a battery in its bay. A device without one satisfies those who
            only look for the device: Linux says "battery absent" and shows no power supply.
        model, serial, chemistry, vendor: text for those who ask.
    """

    capacity: int = 50000
    percent: int = 100
    unit: Unit = Unit.MWH
    state: State = State.IDLE
    rate: int = 0
    voltage: int = 11400
    online: bool = True
    present: bool = True
    model: str = "BAT0"
    serial: str = "0001"
    chemistry: str = "LION"
    vendor: str = "DGPUKIT"

    def __post_init__(self) -> None:
        charging, idle = self.state is State.CHARGING, self.state is State.IDLE
        discharging = self.state is State.DISCHARGING
        checks = (
            (0 < self.capacity < UNKNOWN, "a capacity has 1 to 0xfffffffe units", ""),
            (0 <= self.percent <= 100, f"{self.percent} %: a charge has 0 to 100", ""),
            (0 <= self.rate < UNKNOWN, "a rate has 0 to 0xfffffffe units", ""),
            (0 < self.voltage < UNKNOWN, "a voltage has 1 to 0xfffffffe mV", ""),
            (not (idle and self.rate), "an idle one has no rate", "state charging or discharging"),
            (self.online or self.present, "neither AC power nor a battery: nothing would run", ""),
            (
                discharging or self.online or not self.present,
                "without AC power it is discharging",
                "state discharging",
            ),
            (not (charging and self.percent == 100), "a full one does not charge", "charge 90"),
            (not (discharging and not self.percent), "an empty one does not discharge", "charge 1"),
            (self.present or idle, "one that is not in its bay is idle", "state idle"),
        )
        for good, complaint, hint in checks:
            if not good:
                raise AcpiError(f"no such battery: {complaint}", hint=hint)
        for text in (self.model, self.serial, self.chemistry, self.vendor):
            String(text)

    @property
    def remaining(self) -> int:
        """The charge in units, rounded to the nearest."""
        return (self.capacity * self.percent + 50) // 100

    @property
    def notes(self) -> tuple[str, ...]:
        """What else there is to know about this one."""
        notes = []
        if self.unit is Unit.MAH and self.present:
            notes.append("Windows takes batteries in mWh only (Power Unit of _BIX): use that there")
        if self.state is State.DISCHARGING and self.online and not self.rate:
            notes.append(
                'Linux says "Not charging" of one that discharges at rate 0 beside AC power'
            )
        if self.present:
            notes.append("Windows 11 then takes a PS/2 or virtio mouse for a touchpad: use USB")
        else:
            notes.append("an empty bay: Linux shows no power supply for it")
        return tuple(notes)


def battery_table(battery: Battery | None = None) -> DefinitionBlock:
    """The SSDT.

    A battery that is present has ``_BIX`` of revision 0 and ``_BIF`` (older systems), ``_BST``
    and ``_BTP``. Windows wants exactly these, the former in mWh.
    """
    battery = battery or Battery()
    return DefinitionBlock("BATTERY", [Scope(r"\_SB", [_adapter(battery), _device(battery)])])


def _adapter(battery: Battery) -> Device:
    return Device(
        "AC0",
        [
            Name("_HID", "ACPI0003"),
            Name("_UID", 0),
            Name("_PCL", [Ref(r"\_SB")]),
            Name("_PSR", int(battery.online)),
            Name("_STA", 0x0F),
        ],
    )


def _device(battery: Battery) -> Device:
    head = [Name("_HID", EisaId("PNP0C0A")), Name("_UID", 0)]
    if not battery.present:
        # Bit 4 of _STA is "a battery is in the bay" (10.2.1).
        return Device("BAT0", [*head, Name("_STA", 0x0F)])
    state = [battery.state.value, battery.rate, battery.remaining, battery.voltage]
    return Device(
        "BAT0",
        [
            *head,
            Name("_STA", 0x1F),
            Name("_PCL", [Ref(r"\_SB")]),
            Name("_BIX", _bix(battery)),
            Name("_BIF", _bif(battery)),
            Name("_BST", state),
            # A trip point at which to be notified: nothing ever changes here.
            Method("_BTP", 1, [Noop()]),
        ],
    )


def _bif(battery: Battery) -> list[Value]:
    """Battery information (10.2.2): 13 elements."""
    return [*_amounts(battery), *_thresholds(battery), *_granularity(battery), *_texts(battery)]


def _bix(battery: Battery) -> list[Value]:
    """Extended battery information, revision 0 (10.2.2): 20 elements."""
    # Cycles; accuracy in thousandths of a percent; longest and shortest sampling time and
    # averaging interval, ms.
    measured: list[Value] = [0, 95000, 1000, 500, 1000, 500]
    amounts = [Integer(0, width=1), *_amounts(battery), *_thresholds(battery)]
    return [*amounts, *measured, *_granularity(battery), *_texts(battery)]


def _amounts(battery: Battery) -> list[Value]:
    """Unit, design and last full capacity, rechargeable, design voltage."""
    return [battery.unit.value, battery.capacity, battery.capacity, 1, battery.voltage]


def _thresholds(battery: Battery) -> list[Value]:
    """Warning and low."""
    return [battery.capacity // 10, battery.capacity // 20]


def _granularity(battery: Battery) -> list[Value]:
    """Steps between low and warning, and between warning and full."""
    step = max(1, battery.capacity // 100)
    return [step, step]


def _texts(battery: Battery) -> list[Value]:
    return [battery.model, battery.serial, battery.chemistry, battery.vendor]
