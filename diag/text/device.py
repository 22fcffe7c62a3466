"""One function as a text describes it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from diag.pci import PciClass

if TYPE_CHECKING:
    from diag.config_space import ConfigSpace
    from diag.pci import Acs, PciAddress, PciId


@dataclass(frozen=True, slots=True)
class TextDevice:
    """What a text says of a function. None, or an empty tuple: it does not say.

    Attributes:
        address: where it is.
        line: where the text speaks of it first, from 1.
        class_code: as printed in digits, or in the hex dump.
        class_name: as printed in words.
        name: vendor and device as printed in words.
        ids: vendor and device.
        revision: 0xff where the card did not answer.
        prog_if: programming interface.
        subsystem: its two ids.
        subsystem_name: as printed in words.
        driver: the driver in use.
        modules: the modules that could drive it, in the order of the text.
        unknown_header: lspci found a header type that there is none of.
        power_state: D0 to D3.
        link: speed and width now, with lspci's remarks: ``8GT/s (ok) x4 (downgraded)``.
        numa_node: as printed.
        iommu_group: as printed beside the device itself.
        acs: access control; present with both fields None where only its title is printed.
        config: the bytes of a hex dump.
    """

    address: PciAddress
    line: int
    class_code: PciClass | None = None
    class_name: str | None = None
    name: str | None = None
    ids: PciId | None = None
    revision: int | None = None
    prog_if: int | None = None
    subsystem: PciId | None = None
    subsystem_name: str | None = None
    driver: str | None = None
    modules: tuple[str, ...] = ()
    unknown_header: bool = False
    power_state: str | None = None
    link: str | None = None
    numa_node: int | None = None
    iommu_group: int | None = None
    acs: Acs | None = None
    config: ConfigSpace | None = None

    def __repr__(self) -> str:
        return f"<TextDevice {self.address} {self.ids or self.name or 'unnamed'}>"

    @property
    def display_class(self) -> PciClass | None:
        """The class of a GPU, from its digits, its bytes or its name; None for all else."""
        code = self.class_code
        if code is None and self.class_name is not None:
            code = PciClass.named(self.class_name)
        if code is None and self.config is not None and self.config.answers:
            code = self.config.class_code
        return code if code is not None and code.is_display else None

    @property
    def dead(self) -> bool:
        """Whether it did not answer: revision ff, or a header type that there is none of."""
        silent = self.config is not None and len(self.config.data) >= 4 and not self.config.answers
        return self.revision == 0xFF or self.unknown_header or silent

    @property
    def access_control(self) -> Acs | None:
        """ACS from the words, or else from the bytes."""
        return self.config.acs if self.acs is None and self.config is not None else self.acs

    def joined(self, other: TextDevice) -> TextDevice:
        """Both descriptions of one function; where both say something, the first one counts.

        That it did not answer is kept from whichever saw it.
        """
        gaps = {
            field.name: getattr(other, field.name)
            for field in fields(self)
            if getattr(self, field.name) in (None, (), False)
        }
        if other.revision == 0xFF:
            gaps["revision"] = 0xFF
        return replace(self, **gaps)
