"""The outputs of a GPU, as the driver that shows its picture lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from diag.device import DEVICES

if TYPE_CHECKING:
    from diag.device import PciDevice
    from diag.host import Host

DRM = "/sys/class/drm"


@dataclass(frozen=True, slots=True)
class Connector:
    """One output.

    Attributes:
        name: in the kernel's words, like ``HDMI-A-1``, ``DP-2`` or ``eDP-1``.
        status: ``connected``, ``disconnected`` or ``unknown``; None where it does not say.
    """

    name: str
    status: str | None


def read_connectors(host: Host, device: PciDevice) -> tuple[Connector, ...] | None:
    """A GPU's outputs, sorted; None where no display driver has it, so that nobody lists them.

    Their files say what the driver last saw (drivers/gpu/drm/drm_sysfs.c, status_show), so that
    reading them wakes nothing.

    Raises:
        Unreadable: they are there and cannot be read.
    """
    inside = host.names(f"{DEVICES}/{device.address}/drm") or ()
    cards = [name for name in inside if name.startswith("card")]
    if not cards:
        return None
    return tuple(
        Connector(name.partition("-")[2], host.text(f"{DRM}/{name}/status"))
        for name in host.devices("drm") or ()
        if name.partition("-")[0] in cards and "-" in name
    )
