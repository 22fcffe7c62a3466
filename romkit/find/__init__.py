"""ROMs inside anything: flash dumps, firmware updates, registry hives, ACPI tables, archives."""

from romkit.find.found import Found, Place
from romkit.find.search import find_roms

__all__ = ["Found", "Place", "find_roms"]
