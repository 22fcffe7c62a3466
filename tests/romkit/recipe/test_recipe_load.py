"""What a recipe may say, and what is answered to one that says something else."""

from __future__ import annotations

import pytest

from romkit.errors import RecipeError
from romkit.recipe import load_recipe
from romkit.recipe.model import DataPart, ImageRecipe, NpdeRecipe, NvgiRecipe, Patch, RomPart

IMAGE = "[[image]]\nvendor = 0x10de\ndevice = 0x1c03\n"


def test_keys_become_values() -> None:
    recipe = load_recipe(
        """
        truncate = 0x10

        [container]
        kind = "NVGI"
        version = 1
        subsystem = "1043:85A6"

        [[image]]
        code_type = 0
        vendor = 0x10de
        device = 0x1c03
        size = 1024
        checksum = "zero"
        last = false

        [image.npde]
        flags = 0x0b

        [[tail]]
        kind = "data"
        size = 0x200
        seed = 9

        [[tail]]
        kind = "rom"

        [[tail.image]]
        structure = "none"

        [[patch]]
        offset = 3
        bytes = "55 AA"
        """
    )
    assert recipe.truncate == 16
    assert recipe.container == NvgiRecipe(version=1, subsystem=(0x1043, 0x85A6))
    assert recipe.images == (
        ImageRecipe(
            code_type=0,
            vendor=0x10DE,
            device=0x1C03,
            size=1024,
            checksum=0,
            last=False,
            npde=NpdeRecipe(flags=0x0B),
        ),
    )
    assert recipe.tail == (
        DataPart(size=512, seed=9),
        RomPart(images=(ImageRecipe(structure="none"),)),
    )
    assert recipe.patches == (Patch(offset=3, data=b"\x55\xaa"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[image]", "not TOML: "),
        ("x = " + "9" * 5000, "not TOML: "),
        ("x = " + "[" * 100_000, "not TOML: "),
        ("", "image: missing; the file would be empty"),
        ("colour = 1", "colour: no such key; expected one of truncate, container, image"),
        ("image = 1", "image: expected an array of tables, found 1"),
        ("[image]", "image: expected an array of tables, found a table"),
        ("image = [1]", "image[0]: expected a table, found 1"),
        ("container = 7", "container: expected a table, found 7"),
        ("[container]", 'container.kind: missing; expected "NVGI" or "NVFW"'),
        ('[container]\nkind = "ZIP"', "container.kind: expected"),
        ('[container]\nkind = "unknown"', "container.rom_offset: missing; expected 1 to"),
        ("[[image]]", "image[0].vendor: missing; the first image must state it"),
        (IMAGE + "vendor_id = 1", "image[0].vendor_id: no such key"),
        (IMAGE + "revision = true", "image[0].revision: expected a number from 0 to 255, found"),
        (IMAGE + "code_type = 256", "image[0].code_type: expected a number from 0 to 0xff, found"),
        (IMAGE + "code_type = -1", "image[0].code_type: expected a number"),
        (IMAGE + "size = 0", "image[0].size: expected 1 to 0x4000000 bytes, found 0"),
        (IMAGE + "size = 0x4000001", "image[0].size: expected 1 to 0x4000000 bytes, found"),
        (IMAGE + f"size = {2**200}", "image[0].size: expected 1 to 0x4000000 bytes, found a much"),
        (IMAGE + "size = 1.5", "image[0].size: expected 1 to 0x4000000 bytes, found 1.5"),
        (IMAGE + "image_length = 100", "image[0].image_length: expected 0 to 0x1fffe00 bytes, a"),
        (IMAGE + "last = 1", "image[0].last: expected true or false, found 1"),
        (IMAGE + 'checksum = "nought"', 'image[0].checksum: expected "zero", "untouched" or'),
        (IMAGE + "structure = 1", 'image[0].structure: expected "PCIR" or "NPDS"'),
        (IMAGE + "[image.npde]\nsubsystem = 1", "image[0].npde.subsystem: expected two ids"),
        (IMAGE + "[image.nvidia]", "image[0].nvidia.version: missing; expected a text like"),
        (IMAGE + '[image.nvidia]\nversion = "86"', "image[0].nvidia.version: expected a text like"),
        (IMAGE + '[image.atom]\nstrings = ["a\\nb"]', "image[0].atom.strings[0]: expected a line"),
        (IMAGE + '[image.atom]\ndate = " 1"', "image[0].atom.date: expected a line of 0 to 14"),
        (IMAGE + '[[tail]]\nkind = "data"', "tail[0].size: missing; expected it or bytes"),
        (IMAGE + '[[tail]]\nkind = "padding"', "tail[0].size: missing"),
        (IMAGE + '[[patch]]\noffset = 1\nbytes = "5"', "patch[0].bytes: expected 1 to 64 bytes"),
        (IMAGE + '[[patch]]\noffset = 512\nbytes = "55"', "patch[0].offset: expected it in the"),
        (IMAGE + 'bytes = "?"', "image[0].bytes: expected 1 to 0x4000000 bytes in Base64, found"),
        ("truncate = 512\n" + IMAGE, "truncate: expected less than the file's 0x200 bytes"),
    ],
)
def test_an_impossible_recipe_is_refused_by_the_name_of_the_key(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            IMAGE + "size = 0x200\nstructure_offset = 0x1f0",
            "image[0].structure_offset: expected it in the file",
        ),
        (IMAGE + "structure_offset = 1", "image[0].structure_offset: expected a place behind"),
        (IMAGE + "last = true\nindicator = 1", "image[0].indicator: expected only without last"),
        (IMAGE + "device_list = [1]", "image[0].device_list: expected nothing in a structure"),
        (IMAGE + "revision = 3\ndevice_list = [0]", "image[0].device_list: expected ids above 0"),
        (IMAGE + "clp_pointer = 1", "image[0].clp_pointer: expected nothing in a structure of"),
        (IMAGE + "initialization_size = 0x20000", "image[0].initialization_size: expected at most"),
        (IMAGE + "[image.efi]", "image[0].efi: expected only in a PCIR image of code_type 0x03"),
        (
            IMAGE + "[image.npde]\nlength = 12\ngop_version = 1",
            "image[0].npde.gop_version: expected nothing in 12 bytes, it ends at 16",
        ),
        (
            IMAGE + 'structure_offset = 0x50\n[image.nvidia]\nversion = "86.00.00.00.00"',
            "image[0].nvidia.subsystem: expected a free place, found the PCI data structure",
        ),
        (
            IMAGE + 'size = 0x200\n[image.nvidia]\nversion = "86.00.00.00.00"\noffset = 0x1f0',
            "image[0].size: expected at least 0x226 bytes for what is in it, found 0x200",
        ),
        (
            IMAGE + '[image.atom]\nstrings = ["a"]\npart_number = "b"',
            "image[0].atom.part_number: expected only without strings",
        ),
        (
            IMAGE + 'code_type = 3\n[image.efi]\npayload = "none"\ngop = true',
            'image[0].efi.gop: expected only with payload "pe"',
        ),
        (
            IMAGE + 'code_type = 3\n[image.efi]\nstrings = ["' + 150 * "x" + '"]\npe_size = 512',
            "image[0].efi.pe_size: expected at least 0x800, found 0x200",
        ),
        (
            IMAGE + "size = 100\n[[image]]",
            "image[0].size: expected a multiple of 512 where anything follows, found 0x64",
        ),
        (
            '[[image]]\nstructure = "none"\nvendor = 1',
            "image[0].vendor: expected nothing in an image without a structure",
        ),
        (
            IMAGE + '[[image]]\nstructure = "none"',
            'image[1].structure: expected "none" only in an image that is alone',
        ),
        (
            '[container]\nkind = "NVGI"\nversion = 2\nrom_length = 1\n' + IMAGE,
            "container.rom_length: expected nothing in version 2",
        ),
        (
            '[container]\nkind = "NVGI"\nversion = 3\nrom_offset = 0x400\n' + IMAGE,
            "container.directory_offset: expected at least 0x1000, found -0x200",
        ),
        (
            '[container]\nkind = "NVFW"\ndirectory_offset = 0x4808\n' + IMAGE,
            "container.directory_offset: expected a multiple of 16, found 0x4808",
        ),
        (
            IMAGE + '[[tail]]\nkind = "copy"\nof = 0x100\nsize = 0x200',
            "tail[0].of: expected bytes before the copy at 0x200, found 0x100 to 0x300",
        ),
        (
            '[container]\nkind = "VFCT"\n' + IMAGE + '[[tail]]\nkind = "copy"',
            "tail[0].of: expected bytes behind the table's header",
        ),
        (
            IMAGE + '[[tail]]\nkind = "padding"\nsize = 0x4000000',
            "the file: expected at most 0x4000000 bytes, found 0x4000200",
        ),
        (
            IMAGE + '[[tail]]\nkind = "rom"\n[[tail.image]]\nvendor = 1',
            "tail[0].image[0].device: missing",
        ),
    ],
)
def test_what_does_not_fit_is_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(text)
    assert str(caught.value).startswith(message)


def test_bytes_that_are_cut_off_again_count_as_built() -> None:
    """A small file may not ask for the work of a thousand large ones."""
    part = '[[tail]]\nkind = "rom"\ntruncate = 0x3fffe00\n[[tail.image]]\nstructure = "none"\n'
    with pytest.raises(RecipeError, match="expected at most 0x4000000 bytes"):
        load_recipe(IMAGE + 2 * (part + "size = 0x4000000\n"))


def test_a_rom_in_a_rom_in_a_rom_ends_somewhere() -> None:
    text, path = IMAGE, "tail"
    for _ in range(20):
        text += f'[[{path}]]\nkind = "rom"\n[[{path}.image]]\nvendor = 1\ndevice = 1\n'
        path += ".tail"
    with pytest.raises(RecipeError, match="more than 8 deep"):
        load_recipe(text)
