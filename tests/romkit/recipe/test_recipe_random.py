"""Random recipes: what they say is written, read, built, parsed and described without loss."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from romkit.errors import RecipeError, RomError
from romkit.recipe import build_rom, load_recipe, recipe_of
from romkit.recipe.model import (
    AtomRecipe,
    CopyPart,
    DataPart,
    EfiRecipe,
    ImageRecipe,
    NpdeRecipe,
    NvfwRecipe,
    NvgiRecipe,
    NvidiaRecipe,
    PaddingPart,
    Recipe,
    RomPart,
    UnknownRecipe,
    VbtRecipe,
    VfctPart,
    VfctRecipe,
)
from romkit.recipe.write import write_recipe
from romkit.rom import parse_rom

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
ids = st.tuples(u16, u16)
blocks = st.integers(0, 40).map(lambda n: 512 * n)
dates = st.dates().map(lambda d: d.strftime("%m/%d/%y"))
line = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=30
).filter(lambda text: text == text.strip())


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | strategy


npdes = st.builds(
    NpdeRecipe,
    revision=maybe(u16),
    flags=maybe(u8),
    gop_version=maybe(u32),
)
drivers = st.builds(
    EfiRecipe,
    signature=maybe(st.sampled_from([0xEF1, 0])),
    subsystem=maybe(st.sampled_from([0x0B, 0x0C])),
    machine=maybe(st.sampled_from([0x8664, 0xAA64, 0x014C, 0x0EBC, 0x1234])),
    compression=maybe(st.sampled_from([0, 1, 2])),
    image_offset=maybe(st.integers(0x58, 0x200)),
    gop=maybe(st.booleans()),
    strings=maybe(st.lists(line, max_size=3).map(tuple)),
    pe_size=maybe(st.sampled_from([0x1000, 0x1200])),
) | st.builds(EfiRecipe, payload=st.sampled_from(["broken", "none"]))
nvidias = st.builds(
    NvidiaRecipe,
    version=st.binary(min_size=5, max_size=5).map(lambda raw: raw.hex(".").upper()),
    build_date=maybe(dates),
    modification_date=maybe(dates),
    build_number=maybe(u32),
    board_id=maybe(u16),
    board=maybe(st.sampled_from(["G410-0030", "2904"])),
    chip_sku=maybe(st.sampled_from(["400-0", "1"])),
    subsystem=maybe(ids),
    sign_on=maybe(line),
    printed_version=maybe(line),
    oem_product=maybe(line),
)
atoms = st.builds(
    AtomRecipe,
    revision=maybe(st.sampled_from(["1.1", "2.2", "2.3", "9.9"])),
    subsystem=maybe(ids),
    date=maybe(line.map(lambda text: text[:14].strip())),
    strings=maybe(st.lists(line, max_size=4).map(tuple)),
    bootup_message=maybe(line),
    version=maybe(line),
    config_filename=maybe(line),
    build=maybe(line),
)
vbts = st.builds(
    VbtRecipe,
    platform=maybe(st.sampled_from(["SKYLAKE", "TEST-M"])),
    version=maybe(u16),
    bdb_version=maybe(u16),
    build_number=maybe(st.just("1049")),
    sign_on=maybe(line),
    size=maybe(st.integers(0x300, 0x600)),
)


@st.composite
def images(draw: st.DrawFn) -> ImageRecipe:
    """An image whose chain length is its size: PCIR may say anything where there is an NPDE."""
    npde = draw(maybe(npdes))
    code_type = draw(st.sampled_from([0, 0, 3, 3, 0xE0, 0x70, 1, 2, 0x55]))
    revision = draw(maybe(st.sampled_from([0, 3])))
    image = ImageRecipe(
        code_type=code_type,
        structure=draw(maybe(st.sampled_from(["PCIR", "NPDS", "RGIS"]))),
        vendor=draw(u16),
        device=draw(u16),
        class_code=draw(maybe(st.sampled_from([0, 0x020000, 0x030000, 0x038000]))),
        size=draw(maybe(st.integers(4, 20).map(lambda n: 512 * n))),
        image_length=draw(maybe(blocks)) if npde else None,
        initialization_size=draw(maybe(blocks)),
        revision=revision,
        structure_offset=draw(maybe(st.sampled_from([0x1C, 0x20, 0x5B, 0x1A0, 0x300]))),
        vendor_rom_revision=draw(maybe(u16)),
        last=draw(maybe(st.booleans())) if npde else None,
        checksum=draw(maybe(st.just("untouched") | u8)),
        npde=npde,
    )
    if revision == 3:
        devices = st.lists(st.integers(1, 0xFFFF), max_size=4).map(tuple)
        image = replace(
            image, device_list=draw(maybe(devices)), max_runtime_image_length=draw(maybe(blocks))
        )
    if code_type == 3 and image.structure in (None, "PCIR"):
        image = replace(image, efi=draw(maybe(drivers)))
    if code_type == 0:
        contents = draw(st.sampled_from(["", "nvidia", "atom", "vbt"]))
        made = {"nvidia": nvidias, "atom": atoms, "vbt": vbts}.get(contents)
        if made is not None:
            image = replace(image, **{contents: draw(made)})
    return image


#: A ROM begins with an image that a host would run; else nobody finds it behind a container.
hosts = images().filter(lambda i: i.code_type in (0, 3) and i.structure in (None, "PCIR"))


def honest(image: ImageRecipe) -> ImageRecipe:
    """An image whose PCIR leads to where it ends, and not into another ROM."""
    return replace(image, image_length=None, last=None)


alone = hosts.map(honest)
containers = st.one_of(
    st.builds(
        NvgiRecipe,
        version=st.sampled_from([1, 2, 3]),
        subsystem=maybe(ids),
        fill=maybe(u8),
    ),
    st.builds(NvgiRecipe, rom_offset=st.sampled_from([0x200, 0x600, 0x1000]), pointer=maybe(u32)),
    st.builds(NvfwRecipe, decoys=maybe(st.just((0x2000,))), fill=maybe(u8)),
    st.builds(
        UnknownRecipe,
        rom_offset=st.integers(1, 9).map(lambda n: 512 * n),
        fill=maybe(st.sampled_from([0, 0xFF])),
    ),
)
entries = {
    "address": maybe(st.tuples(u8, st.integers(0, 31), st.integers(0, 7))),
    "device_id": maybe(ids),
    "subsystem": maybe(ids),
    "revision": maybe(u32),
}
#: Whole blocks: a reader looks for another ROM only at their boundaries.
sizes = st.integers(1, 9).map(lambda n: 512 * n)
paddings = st.builds(PaddingPart, fill=maybe(u8), size=sizes)
data = st.builds(DataPart, size=sizes, seed=maybe(u8))
copies = st.builds(CopyPart)
roms = alone.map(lambda image: RomPart(images=(image,)))
image_lists = st.tuples(hosts, st.lists(images(), max_size=3)).map(lambda t: (t[0], *t[1]))
honest_lists = image_lists.map(lambda row: tuple(map(honest, row)))
recipes = st.one_of(
    st.builds(
        Recipe,
        container=maybe(containers),
        images=image_lists,
        tail=st.lists(paddings | data, max_size=3).map(tuple),
    ),
    st.builds(
        Recipe,
        container=maybe(containers),
        images=honest_lists,
        tail=st.lists(st.one_of(paddings, data, copies, roms), max_size=3).map(tuple),
    ),
    st.builds(
        Recipe,
        container=st.builds(VfctRecipe, **entries),
        images=honest_lists,
        tail=st.lists(
            st.one_of(
                paddings, data, st.builds(VfctPart, images=alone.map(lambda i: (i,)), **entries)
            ),
            max_size=2,
        ).map(tuple),
    ),
)


@st.composite
def cut_recipes(draw: st.DrawFn) -> Recipe:
    """A recipe whose last image is cut off, or the padding behind it; never what is in an image."""
    recipe = draw(recipes)
    padded = replace(recipe, tail=(*recipe.tail, PaddingPart(size=0x400)))
    return replace(padded, truncate=draw(st.integers(1, 0x3FF)))


def built(recipe: Recipe) -> bytes:
    """The bytes; a random recipe may well ask for two things at one place."""
    try:
        return build_rom(recipe)
    except RecipeError:
        assume(False)
        raise


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(recipes | cut_recipes())
def test_what_is_written_is_read_again(recipe: Recipe) -> None:
    data = built(recipe)
    text = write_recipe(recipe)
    assert load_recipe(text) == recipe
    assert build_rom(load_recipe(text)) == data


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(recipes | cut_recipes())
def test_a_built_rom_is_described_exactly(recipe: Recipe) -> None:
    data = built(recipe)
    text = recipe_of(parse_rom(data))
    assert "omitted" not in text
    assert build_rom(load_recipe(text)) == data
    assert recipe_of(parse_rom(data)) == text


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(recipes, st.data())
def test_any_rom_can_be_described(recipe: Recipe, draw: st.DataObject) -> None:
    """Whatever a ROM says of itself: the text loads, builds as many bytes, and can hold them."""
    raw = bytearray(built(recipe))
    for _ in range(draw.draw(st.integers(0, 12))):
        near = draw.draw(st.sampled_from([0x400, len(raw)]))
        raw[draw.draw(st.integers(0, min(near, len(raw)) - 1))] = draw.draw(u8)
    data = bytes(raw[: draw.draw(st.integers(1, len(raw)))])
    try:
        rom = parse_rom(data)
    except RomError:
        return
    assert len(build_rom(load_recipe(recipe_of(rom)))) == len(data)
    assert build_rom(load_recipe(recipe_of(rom, with_bytes=True))) == data


@given(st.text(max_size=300))
def test_any_text_loads_or_raises_recipe_error(text: str) -> None:
    with contextlib.suppress(RecipeError):
        build_rom(load_recipe(text))


LINES = """
truncate = 4
[container]
kind = "NVGI"
kind = "VFCT"
kind = "unknown"
rom_offset = 0x200
[[image]]
code_type = 3
vendor = 0x10de
device = 1
size = 0x400
size = 0
structure = "none"
structure_offset = 0xffff
image_length = 33553920
checksum = "zero"
device_list = [1, 2]
revision = 3
bytes = "AAAA"
[image.npde]
length = 0
last = true
[image.efi]
payload = "broken"
pe_size = 512
[image.nvidia]
version = "86.00.00.00.00"
[image.atom]
strings = ["a"]
[image.vbt]
offset = 0x1000
[[tail]]
kind = "rom"
kind = "copy"
kind = "padding"
kind = "data"
of = 0x10
[[tail.image]]
[[tail.tail]]
[[patch]]
offset = 2
"""
lines = st.sampled_from(LINES.splitlines())


@given(st.lists(lines | st.text(max_size=20), max_size=20))
def test_any_row_of_keys_loads_or_raises_recipe_error(rows: list[str]) -> None:
    try:
        recipe = load_recipe("\n".join(rows))
    except RecipeError:
        return
    assert build_rom(recipe)
