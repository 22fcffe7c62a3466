"""From a ROM to its recipe: look-alikes of ROMs that no recipe made, and the special cases."""

from __future__ import annotations

import random
import tomllib

import pytest
from builders.rom import (
    efi_image,
    image,
    npde,
    nvfw,
    nvgi,
    nvidia_desktop,
    nvidia_mobile,
    pcir,
    vfct,
)

from romkit.errors import RecipeError
from romkit.recipe import build_rom, load_recipe, recipe_of
from romkit.rom import Rom, parse_rom

#: Stands for a vendor's code: nothing that a recipe would make.
CODE = random.Random(7).randbytes(0x1000)

VENDOR = {
    "plain": image(pcir(vendor=0x1002, blocks=16), blocks=16, body={0x200: CODE}),
    "desktop": nvidia_desktop(),
    "mobile": nvidia_mobile(),
    "nvgi 1": nvgi(1, nvidia_desktop()),
    "nvgi 3": nvgi(3, nvidia_desktop()),
    "nvfw": nvfw(nvidia_desktop()),
    "vfct": vfct(
        image(pcir(vendor=0x1002, blocks=16), blocks=16, body={0x200: CODE}),
        image(pcir(vendor=0x1002)),
    ),
    "prefix": CODE[:999] + nvidia_desktop(),
    "copy": nvgi(3, nvidia_desktop()).ljust(0x8000, b"\xff") + nvgi(3, nvidia_mobile()),
    "live": image(pcir(vendor=0x1002)) + b"\xff" * 2048 + CODE + b"\xff" * 700,
    "cut": image(pcir(blocks=16), blocks=16, body={0x200: CODE})[:0x1234],
    "efi": efi_image(b"MZ" + CODE, class_code=0x030000),
    "isa": b"\x55\xaa\x10" + CODE + bytes(0x2000 - 3 - len(CODE)),
    "sum": image(pcir(blocks=16), blocks=16, body={0x200: CODE}, fix_sum=False),
    "indicator": image(pcir(blocks=16, indicator=0x83), blocks=16, body={0x200: CODE}),
}


def shape(rom: Rom) -> object:
    """What a look-alike has in common with its original."""
    container = rom.container
    return (
        len(rom.data),
        container and (container.kind, container.rom_offset, container.rom_length),
        [
            (
                own.offset,
                own.size,
                own.signature,
                own.initialization_size,
                own.pcir,
                own.npde,
                own.sum8,
                own.truncated,
                own.efi and (own.efi.signature_ok, own.efi.subsystem, own.efi.machine),
            )
            for own in rom.images
        ],
        [(part.kind, part.offset, part.size, part.rom_offset) for part in rom.tail or ()],
        [(chain.end, chain.end_offset, len(chain)) for chain in (rom.pcir_chain, rom.npde_chain)],
    )


@pytest.mark.parametrize("name", VENDOR)
def test_a_look_alike_has_the_same_shape(name: str) -> None:
    rom = parse_rom(VENDOR[name])
    text = recipe_of(rom)
    built = build_rom(load_recipe(text))
    assert shape(parse_rom(built)) == shape(rom)
    assert build_rom(load_recipe(recipe_of(parse_rom(built)))) == built


@pytest.mark.parametrize("name", VENDOR)
def test_a_look_alike_holds_no_code(name: str) -> None:
    original = VENDOR[name]
    text = recipe_of(parse_rom(original))
    built = build_rom(load_recipe(text))
    code = [CODE[n : n + 8] for n in range(0, len(CODE) - 8, 8)]
    assert not any(chunk in built for chunk in code)
    assert "bytes" not in tomllib.loads(text)
    if any(chunk in original for chunk in code):
        assert text.splitlines()[1].startswith("# The payload is omitted")


@pytest.mark.parametrize("name", VENDOR)
def test_with_bytes_it_is_the_identical_file(name: str) -> None:
    rom = parse_rom(VENDOR[name])
    text = recipe_of(rom, with_bytes=True)
    assert build_rom(load_recipe(text)) == VENDOR[name]
    assert text.splitlines()[1].startswith("# With the payload")


def test_embedded_bytes_can_still_be_edited() -> None:
    text = recipe_of(parse_rom(VENDOR["plain"]), with_bytes=True)
    edited = build_rom(load_recipe(text.replace("device = 0x1c03", "device = 0x1c04")))
    assert edited != VENDOR["plain"]
    assert parse_rom(edited).images[0].pcir.device_id == 0x1C04
    assert edited[0x200 : 0x200 + len(CODE)] == CODE


def test_a_small_change_to_a_built_rom_becomes_a_patch() -> None:
    recipe = "[[image]]\nvendor = 1\ndevice = 2\nsize = 0x1000\n"
    raw = bytearray(build_rom(load_recipe(recipe)))
    raw[0x800:0x803] = b"\x01\x02\x03"
    text = recipe_of(parse_rom(bytes(raw)))
    assert '[[patch]]\noffset = 0x800\nbytes = "01 02 03"\n' in text
    assert build_rom(load_recipe(text)) == raw


def test_patches_never_carry_a_vendors_code() -> None:
    recipe = "[[image]]\nvendor = 1\ndevice = 2\nsize = 0x1000\n"
    raw = bytearray(build_rom(load_recipe(recipe)))
    raw[0x800:0xA00] = CODE[:0x200]
    assert "[[patch]]" not in recipe_of(parse_rom(bytes(raw)))


def test_images_that_no_chain_reaches_are_images_all_the_same() -> None:
    text = (
        "# 1002:0001, no container, 00, 0x1200 bytes\n\n"
        "[[image]]\ncode_type = 0x00  # x86\nvendor = 0x1002\ndevice = 0x0001\nsize = 0x1000\n"
        "last = true\n\n[[image]]\ncode_type = 0x03  # EFI\n"
    )
    data = build_rom(load_recipe(text))
    assert len(parse_rom(data).images) == 1
    assert recipe_of(parse_rom(data)) == text


def test_a_container_whose_pointer_leads_nowhere_stays_one() -> None:
    raw = bytearray(nvgi(1, nvidia_desktop()))
    raw[0x14:0x18] = b"\xff\xff\xff\x7f"
    rom = parse_rom(bytes(raw))
    assert rom.container is not None
    assert rom.container.problem
    again = parse_rom(build_rom(load_recipe(recipe_of(rom))))
    assert again.container is not None
    assert (again.container.kind, bool(again.container.problem)) == (rom.container.kind, True)


def test_text_of_a_vendor_is_written_as_text_and_nothing_else() -> None:
    """A part number may hold quotes and backslashes; TOML must not be broken by it."""
    text = (
        "[[image]]\nvendor = 1\ndevice = 1\n[image.atom]\n"
        "strings = [\"a\\\"b\\\\c\", '''[[patch]]''']\n"
    )
    rom = parse_rom(build_rom(load_recipe(text)))
    assert rom.images[0].atom is not None
    assert rom.images[0].atom.strings == ('a"b\\c', "[[patch]]")
    again = load_recipe(recipe_of(rom)).images[0].atom
    assert again is not None
    assert again.strings == ('a"b\\c', "[[patch]]")


def test_a_file_that_is_too_large_for_a_recipe() -> None:
    rom = parse_rom(image(pcir()) + b"\xff" * (64 << 20))
    with pytest.raises(RecipeError, match="more than 0x4000000"):
        recipe_of(rom)


def test_npde_of_a_built_rom_is_that_of_the_specification() -> None:
    """The builder of the other tests and a recipe agree byte for byte on a whole header."""
    by_hand = npde(blocks=2, flags=1, subsystem=(0x1043, 0x85A6))
    rom = build_rom(
        load_recipe(
            "[[image]]\nvendor = 1\ndevice = 2\nsize = 0x400\n[image.npde]\nlast = false\n"
            'subsystem = "1043:85a6"\n'
        )
    )
    assert rom[0x1C0:0x1D4] == by_hand
