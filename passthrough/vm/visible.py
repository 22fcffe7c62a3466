"""An installation is looked at: a guest that shows nothing gets a picture for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passthrough.vm.capabilities import Capabilities
    from passthrough.vm.profile import Profile


def visible(profile: Profile, known: Capabilities) -> Profile:
    """The profile, with a virtual graphics card that can be looked at.

    A profile whose guest is seen on a monitor at the GPU has neither: its driver comes only after
    the installation.

    Args:
        profile: of the guest.
        known: what QEMU can show.
    """
    display, part = profile.display, profile.integrated
    video, show = display.video, display.show
    if show == "none":
        show = "vnc" if known.spice is False else "spice"
    if video == "none" and not (part.mdev and part.display):
        video = "std"
    if video == "qxl" and known.properties("qxl-vga") == frozenset():
        video = "std"
    if (video, show) == (display.video, display.show):
        return profile
    return replace(profile, display=replace(display, video=video, show=show))


def looked_at(profile: Profile) -> str:
    """How the guest's picture is looked at, in words."""
    display = profile.display
    if display.show == "gtk":
        return "its window opens on your desktop"
    if display.show == "none":
        return "its picture is shown nowhere"
    if display.show == "spice" and display.gl:
        return f"remote-viewer spice+unix://{profile.own_folder}/spice.sock"
    return f"remote-viewer {display.show}://127.0.0.1:{display.port}"
