"""The ROM that the labs' GPUs carry: a mobile NVIDIA card's, built from a recipe."""

from __future__ import annotations

from pathlib import Path

from romkit.recipe import build_rom, load_recipe

#: The ids in it: vendor and device.
SAMPLE_IDS = (0x10DE, 0x1C8D)

#: Options of vfio-pci that give the GPU these ids. With another device id QEMU would write that
#: one into the ROM that it reads from the BAR, and mend the sum (hw/vfio/pci.c, vfio_pci_load_rom).
AS_SAMPLE = "x-pci-vendor-id={:#06x},x-pci-device-id={:#06x}".format(*SAMPLE_IDS)

_RECIPE = Path(__file__).parent.parent / "fixtures/recipes/nvidia_mobile_pascal.toml"


def sample_rom() -> bytes:
    """Its bytes."""
    return build_rom(load_recipe(_RECIPE.read_text(encoding="utf-8")))
