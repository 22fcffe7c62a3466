"""What stands in an image, as far as a recipe can say it: candidates, the best first.

A candidate need not fit: where a vendor's structures lie closer together than the synthetic ones,
the next candidate asks for less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from romkit.efi.driver import EfiDriver, read_efi
from romkit.efi.gop import GOP_GUID
from romkit.errors import RecipeError
from romkit.header import BLOCK, CodeType
from romkit.image import OptionRom
from romkit.recipe.efi import BROKEN
from romkit.recipe.fill import is_fill
from romkit.recipe.model import AtomRecipe, EfiRecipe, NvidiaRecipe, VbtRecipe
from romkit.recipe.pe import read_driver
from romkit.vendor.intel import read_vbt

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

#: Of a look-alike's texts no more than this is kept, in characters.
_LONGEST = 48


def fitting(table: type[T], values: dict[str, Any]) -> T | None:
    """A table of those values that its keys can have; None where a needed one is not among them.

    Vendors' fields hold anything; a recipe's keys do not.
    """
    kept = {}
    for field in fields(table):
        value = values.get(field.name)
        if value is not None and can_be(field.metadata["kind"], value):
            kept[field.name] = value
    try:
        return table(**kept)
    except TypeError:
        return None


def can_be(kind: Any, value: Any) -> bool:
    """Whether a recipe can say `value` and mean it."""
    import tomllib

    try:
        return bool(kind.read(tomllib.loads(f"x = {kind.show(value)}")["x"], "x") == value)
    except (RecipeError, ValueError):
        return False


def efi_of(image: OptionRom) -> Iterator[EfiRecipe | None]:
    """The driver."""
    # Of all its bytes: `image.efi` ends where PCIR says that the image does.
    efi = read_efi(
        bytes(image),
        npde_gop_version=image.npde.gop_version if image.npde is not None else None,
        class_code=image.pcir.class_code,
        vendor_id=image.pcir.vendor_id,
        budget=image.efi_budget,
    )
    if efi is None or image.code_type != CodeType.EFI or image.signature != b"\x55\xaa":
        yield None
        return
    header = {
        "signature": efi.efi_signature,
        "subsystem": efi.subsystem,
        "machine": efi.machine,
        "compression": efi.compression,
        "image_offset": efi.image_offset,
    }
    payload = bytes(image)[efi.image_offset :]
    pe = efi.pe
    own = read_driver((pe if efi.compression == 1 else payload) or b"")
    if own is not None and (own.machine, own.subsystem) == (efi.machine, efi.subsystem):
        driver = {"payload": "pe", "gop": own.gop, "strings": own.strings, "pe_size": own.size}
        yield fitting(EfiRecipe, header | driver)
    elif pe is not None:
        driver = {"payload": "pe", "gop": GOP_GUID in pe, "strings": _names(efi)}
        # A plain driver and what follows it cannot be told apart: only packed ones have a size.
        size = len(pe) // BLOCK * BLOCK if efi.compression else None
        yield fitting(EfiRecipe, header | driver | {"pe_size": size})
        yield fitting(EfiRecipe, header | driver)
    elif not is_fill(payload[: len(BROKEN)]):
        yield fitting(EfiRecipe, header | {"payload": "broken"})
    yield fitting(EfiRecipe, header | {"payload": "none"})


def _names(efi: EfiDriver) -> tuple[str, ...]:
    """The texts by which a GOP is known."""
    gop = efi.gop
    if gop is None or not gop.description:
        return ()
    if gop.vendor == "Intel":
        return (gop.description, gop.version) if gop.version else (gop.description,)
    if gop.vendor == "AMD" and not efi.compression:
        # Plain, the whole name would be more of the vendor's bytes in a row than a look-alike has.
        return (f"AMD GOP Rev.{gop.version}",)
    return (gop.description,)


def nvidia_of(image: OptionRom, *, exact: bool) -> Iterator[NvidiaRecipe | None]:
    """The BIT, with all of its texts or only with what tells one VBIOS from another."""
    found = image.nvidia
    if found is not None:
        names = {field.name for field in fields(NvidiaRecipe)} - {"offset"}
        values: dict[str, Any] = {name: getattr(found, name) for name in names}
        if not exact:
            texts = ("printed_version", "copyright")
            oem = ("oem_string", "oem_vendor", "oem_product", "oem_revision")
            values |= dict.fromkeys((*texts, *oem))
            values["sign_on"] = (found.product or "")[:_LONGEST].strip() or None
        yield from _moved(fitting(NvidiaRecipe, values), found.bit.offset)
        yield fitting(NvidiaRecipe, {"version": found.version})
    yield None


def atom_of(image: OptionRom, *, exact: bool) -> Iterator[AtomRecipe | None]:
    """The ATOM header, with all of its texts or only with the part number, chip and version."""
    found = image.atom
    if found is not None:
        header = found.rom_header
        values: dict[str, Any] = {
            "revision": f"{header.table_format_revision}.{header.table_content_revision}",
            "structure_size": header.structure_size,
            "subsystem": found.subsystem,
            "date": found.date,
            "version": found.version,
        }
        if found.strings:
            values["strings"] = found.strings if exact else found.strings[:2]
        else:
            values["part_number"] = found.part_number
        if exact:
            values["bootup_message"] = found.bootup_message
            values["config_filename"] = found.config_filename
            values["build"] = found.build
        yield from _moved(fitting(AtomRecipe, values), header.offset)
        values["strings"] = (found.part_number,) if found.strings else None
        values["version"] = None
        yield from _moved(fitting(AtomRecipe, values), header.offset)
    yield None


def vbt_of(image: OptionRom, *, exact: bool) -> Iterator[VbtRecipe | None]:
    """The video BIOS table in an image of any type."""
    found = read_vbt(bytes(image), 0)
    if found is not None:
        values: dict[str, Any] = {
            "platform": found.platform,
            "version": found.version,
            "bdb_version": found.bdb_version,
            "build_number": found.build_number,
            "size": found.vbt_size,
        }
        if exact:
            values |= {"sign_on": found.sign_on, "copyright": found.copyright}
        for size in (found.vbt_size, None):
            yield from _moved(fitting(VbtRecipe, values | {"size": size}), found.offset)
    yield None


def _moved(value: T | None, offset: int) -> Iterator[T]:
    """`value` at the place where the vendor has it, then anywhere."""
    if value is not None:
        yield replace(value, offset=offset)
        yield value
