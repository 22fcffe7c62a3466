"""The recipes that other tests build their ROMs from: what each one is, pinned."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from romkit.recipe import build_rom, load_recipe, recipe_of
from romkit.rom import Rom, parse_rom

FOLDER = Path(__file__).parents[2] / "fixtures" / "recipes"

#: SHA-256 of what each recipe builds, on every machine. A change here changes every test image:
#: do it on purpose only.
SHA256 = {
    "amd_03ea": "ab12042dcb1bbb0b585d03d4832b9b6a790d3bce135781699757cd88db56c115",
    "amd_navi_aa64": "8ee29680157809ab376ababdda78081da8d5fab33a1890d2ab2af9a2b3af5834",
    "amd_polaris_live_tail": "85269249e58493e75d8cb706bfe6136ed55ee058b6a92d17e4172a0fc3cdb326",
    "amd_vfct": "6cb6c6f176ee77bd47e35fa66a4a99fa7ceba60933d97f6814a4f561e337d424",
    "bad_checksum": "c5bcd0f8e503189a973776de90dd72d81e3973f5aa5a11361774cae129316df0",
    "intel_gop_plain": "53fe3af4d6d909c9212480a6d883ecec4c89763a490318e00d0b53ccd55c0044",
    "intel_vbt": "0f1d8ee0e6004bba24531ca68709b99428d953bd7c92add0595799b4a09b6d4d",
    "ipxe_consumer": "076f597d582463e3de0a6e00cb151e887ef181e9cabf50940f823a19b9aa67b3",
    "isa_no_pcir": "8c5a47f23db7175d1af8129f3c2562e06c8de20c7d68405b685c59b9e94b5c7a",
    "no_last": "4daf9d2c27a1eb023b745b4acd3aff3efaad18c04ded45eac2e99f8c0e7a270e",
    "nvidia_blackwell_nvfw": "19dc7aeac3659e1b089d1150966776b681f3968ced3005c3867c25335b3c5f31",
    "nvidia_desktop_pascal_nvgi2": "4197b0d85b9b9c2bc3562df5a1f4cddd7d091121b69e0842667ace829dbc101b",  # noqa: E501  a digest is one word
    "nvidia_gop_only": "2691a18d53122bed4e9ad91816bcef25df39ec6336f5871d3ac4793d6387b056",
    "nvidia_gopupd_broken": "6afa4d98f7e35c7cd5ddb83d24472677dba21bb63cc46b9a2342f497afd8b229",
    "nvidia_kepler_nvgi1": "2087047180f1236b42d863a1c4669a3cbcc046451ed9dca8374eccfdeadf471b",
    "nvidia_mobile_pascal": "0f336830087e9b4aa9978c75e0c0e7ee6cad223fdacd541d9dfd1fab4e431239",
    "nvidia_mobile_pascal_gop": "038dc6de95326eb7ecd2e920276b724d67c6678a48524907d16f3403b0eb1081",
    "nvidia_rgis": "3c9dede848662c736d2717d8237b734437ef62dcd8465b8674a62b5ffa2db445",
    "nvidia_shadow": "8526ff52d35c9426f5fdf2f91a44cfcc663139788edf5157a1b8f7068571ad17",
    "nvidia_sysfs_dump": "21c637d6781b960caee1eecfc5aa7a0b9947d6f21633d93585fa11af93bb541a",
    "nvidia_turing_nvgi3_ab": "5d2c4b8cae15f12b73541ea6a858aa236ff50cb1f127d069d2f745fd5077bacd",
    "padded": "b46dab5e30c6e26b7f3726785a8c858b83170488a99d66ec991d1908cdd493d7",
    "truncated": "fe740641667a540f52cf9833dbbd3bb726e6d3447e01540e3f77196626052b2b",
    "unaligned_pcir": "19382cce248c2cb81332f5826fce5ff54f83009b6bb0146eb168248415fb0308",
    "undecodable_efi": "2808d3a2ce4ab4dce1316965d9619b515909ae46dc76c1ee6b480cb4d11bb162",
    "unknown_prefix": "a2c84fd706deb460cda8ab6f396b865533d832ef6da70cc94f9af08f9a6a03ac",
}

#: Container, code types, images of the PCIR chain, images of the NPDE chain, tail.
SHAPES: dict[str, tuple[str | None, str, list[int], list[int], str]] = {
    "amd_03ea": (None, "03", [0], [0], ""),
    "amd_navi_aa64": (None, "00 03 03", [0, 1, 2], [0, 1, 2], ""),
    "amd_polaris_live_tail": (None, "00 03", [0, 1], [0, 1], "padding data padding"),
    "amd_vfct": ("VFCT", "00", [0], [0], "vfct image"),
    "bad_checksum": (None, "00", [0], [0], ""),
    "intel_gop_plain": (None, "03", [0], [0], ""),
    "intel_vbt": (None, "00", [0], [0], ""),
    "ipxe_consumer": (None, "00 03", [0, 1], [0, 1], ""),
    "isa_no_pcir": (None, "", [], [], "data"),
    "no_last": (None, "00 03", [0, 1], [0, 1], ""),
    "nvidia_blackwell_nvfw": ("NVFW", "00 03 e0 e0", [0, 1], [0, 1, 2, 3], ""),
    "nvidia_desktop_pascal_nvgi2": (
        "NVGI",
        "00 03 e0 e0 70 70",
        [0, 1],
        [0, 1, 2, 3, 4, 5],
        "",
    ),
    "nvidia_gop_only": (None, "03", [0], [0], ""),
    "nvidia_gopupd_broken": (None, "00 e0 03 e0 70", [0], [0, 1, 2, 3, 4], ""),
    "nvidia_kepler_nvgi1": ("NVGI", "00 03 e0 70", [0, 1], [0, 1, 2, 3], ""),
    "nvidia_mobile_pascal": (None, "00 e0 e0 70", [0], [0, 1, 2, 3], ""),
    "nvidia_mobile_pascal_gop": ("NVGI", "00 e0 e0 70 03", [0, 4], [0, 1, 2, 3, 4], ""),
    "nvidia_rgis": (None, "00 03 e0 70", [0, 1], [0, 1, 2, 3], ""),
    "nvidia_shadow": (None, "00", [0], [0], ""),
    "nvidia_sysfs_dump": (None, "00 03", [0, 1], [0, 1], ""),
    "nvidia_turing_nvgi3_ab": (
        "NVGI",
        "00 03 e0 e0 70",
        [0, 1],
        [0, 1, 2, 3, 4],
        "padding copy padding data padding",
    ),
    "padded": (None, "00 e0 e0 70", [0], [0, 1, 2, 3], "padding"),
    "truncated": (None, "00 03", [0, 1], [0, 1], ""),
    "unaligned_pcir": (None, "00", [0], [0], ""),
    "undecodable_efi": (None, "00 03", [0, 1], [0, 1], ""),
    "unknown_prefix": ("unknown", "00", [0], [0], ""),
}


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def rom_of(name: str) -> Rom:
    return parse_rom(build_rom(load_recipe(text_of(name))))


def test_every_recipe_is_listed() -> None:
    names = {path.stem for path in FOLDER.glob("*.toml")}
    assert names == set(SHA256) == set(SHAPES)


@pytest.mark.parametrize("name", SHA256)
def test_it_builds_the_same_bytes_everywhere(name: str) -> None:
    assert hashlib.sha256(build_rom(load_recipe(text_of(name)))).hexdigest() == SHA256[name]


@pytest.mark.parametrize("name", SHA256)
def test_it_survives_the_way_through_bytes(name: str) -> None:
    assert recipe_of(rom_of(name)) == text_of(name)


@pytest.mark.parametrize("name", SHA256)
def test_with_its_bytes_it_is_the_same_rom(name: str) -> None:
    rom = rom_of(name)
    text = recipe_of(rom, with_bytes=True)
    assert build_rom(load_recipe(text)) == bytes(rom)


@pytest.mark.parametrize("name", SHAPES)
def test_it_has_the_shape_that_its_name_says(name: str) -> None:
    rom = rom_of(name)
    images = list(rom.images)
    assert SHAPES[name] == (
        rom.container.kind.value if rom.container else None,
        " ".join(f"{image.code_type:02x}" for image in images),
        [images.index(image) for image in rom.pcir_chain],
        [images.index(image) for image in rom.npde_chain],
        " ".join(part.kind.value for part in rom.tail or ()),
    )


def test_x86_images_sum_to_zero_except_where_that_is_the_point() -> None:
    wrong = {name for name in SHA256 for i in rom_of(name).images if i.code_type == 0 and i.sum8}
    assert wrong == {"bad_checksum", "nvidia_gopupd_broken"}


def test_every_driver_can_be_decoded_except_where_that_is_the_point() -> None:
    dark = {name for name in SHA256 for i in rom_of(name).images if i.efi and i.efi.pe is None}
    assert dark == {"undecodable_efi"}


@pytest.mark.parametrize(
    ("name", "number", "role", "vendor", "version"),
    [
        ("amd_polaris_live_tail", 1, "producer", "AMD", "1.60.0.15.50"),
        ("amd_navi_aa64", 2, "producer", "AMD", "2.11.0"),
        ("intel_gop_plain", 0, "producer", "Intel", "1077"),
        ("nvidia_gop_only", 0, "producer", "NVIDIA", "0x5001D"),
        ("nvidia_mobile_pascal_gop", 4, "producer", "NVIDIA", "0x30009"),
        ("ipxe_consumer", 1, "consumer", None, None),
    ],
)
def test_whose_gop_it_is(
    name: str, number: int, role: str, vendor: str | None, version: str | None
) -> None:
    efi = rom_of(name).images[number].efi
    assert efi is not None
    found = (efi.gop.vendor, efi.gop.version) if efi.gop is not None else (None, None)
    assert (efi.gop_role.value, *found) == (role, vendor, version)


def test_single_points() -> None:
    assert len(rom_of("padded").data) == 262144
    assert rom_of("truncated").images[1].truncated
    assert not rom_of("no_last").pcir_chain.complete
    assert not rom_of("nvidia_sysfs_dump").npde_chain.complete
    assert rom_of("unaligned_pcir").images[0].pcir.offset == 0x5B
    assert rom_of("amd_03ea").images[0].pcir.vendor_id == 0x03EA
    assert rom_of("nvidia_rgis").images[2].pcir.signature == b"RGIS"

    shadow = rom_of("nvidia_shadow").images[0]
    assert shadow.npde is not None
    assert (shadow.pcir.image_length, shadow.npde.subimage_length) == (0x3800, 0x4000)
    assert (len(shadow.data), shadow.last) == (0x3800, False)

    mobile = rom_of("nvidia_mobile_pascal").images
    assert mobile[0].pcir.image_length == sum(image.size for image in mobile)

    twins = rom_of("nvidia_turing_nvgi3_ab").tail
    assert twins is not None
    assert [part.identical for part in twins.copies] == [True]

    atom = rom_of("amd_vfct").images[0].atom
    assert atom is not None
    assert (atom.part_number, atom.date) == ("113-LOOKALIKE-026", "03/10/20,02:21")
    vbt = rom_of("intel_vbt").images[0].vbt
    assert vbt is not None
    assert (vbt.offset, vbt.platform, vbt.build_number) == (0xB90, "SKYLAKE", "1049")
    nvidia = rom_of("nvidia_desktop_pascal_nvgi2").images[0].nvidia
    assert nvidia is not None
    assert (nvidia.version, nvidia.build_date) == ("86.06.68.00.26", "02/24/16")
