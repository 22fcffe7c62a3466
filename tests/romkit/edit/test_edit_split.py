"""split and join: there and back, byte for byte."""

from __future__ import annotations

import tomllib

import pytest
from builders.authenticode import sign
from builders.board import amd, desktop, gop_driver, mobile, nvidia_gop
from builders.rom import efi_image, image, nvgi, pcir, vfct
from hypothesis import given
from hypothesis import strategies as st

from romkit import RomError, parse_rom
from romkit.edit import join, split
from romkit.errors import EditRefused

ROMS = {
    "desktop": desktop(gop=nvidia_gop()),
    "mobile": mobile(gop=nvidia_gop(last=0x80), padding=700),
    "nvgi": nvgi(3, desktop(gop=nvidia_gop())),
    "live tail": amd(tail=b"\xff" * 600 + b"data" * 99),
    "vfct": vfct(amd(), amd()),
    "truncated": desktop(gop=nvidia_gop())[:3000],
    "isa": b"\x55\xaa\x01" + bytes(509),
    "not last": image(pcir(indicator=0)),
}


@pytest.mark.parametrize("name", ROMS)
def test_there_and_back(name: str) -> None:
    rom = parse_rom(ROMS[name])
    parts = split(rom)
    assert join(parts).data == ROMS[name]
    assert join({p.name: p.data for p in parts}).data == ROMS[name]
    assert join(reversed(parts)).data == ROMS[name]
    tiles = [p for p in parts if p.kind in ("container", "image", "tail")]
    assert b"".join(p.data for p in sorted(tiles, key=lambda p: p.name)) == ROMS[name]
    assert len({p.name for p in parts}) == len(parts)


def test_names_and_contents() -> None:
    parts = split(parse_rom(nvgi(2, mobile(gop=nvidia_gop(last=0x80)) + b"\xff" * 512)))
    assert [(p.name, p.kind) for p in parts] == [
        ("00-container.bin", "container"),
        ("01-image-00-x86.rom", "image"),
        ("02-image-e0-fwsec.rom", "image"),
        ("03-image-e0-fwsec.rom", "image"),
        ("04-image-70-nbsi.rom", "image"),
        ("05-image-03-efi.rom", "image"),
        ("05-image-03-efi.efi", "driver"),
        ("06-tail.bin", "tail"),
        ("manifest.toml", "manifest"),
    ]
    driver = parts[6].data
    assert driver.startswith(gop_driver())
    assert not driver[len(gop_driver()) :].strip(b"\0")


def test_certificates_are_der() -> None:
    from cryptography import x509

    signed = sign(gop_driver())
    parts = split(parse_rom(efi_image(signed)))
    found = [p for p in parts if p.kind == "certificate"]
    assert [p.name for p in found] == [
        f"01-image-03-efi.certificate-{n}.der" for n in range(1, len(found) + 1)
    ]
    assert found
    names = {x509.load_der_x509_certificate(p.data).subject.rfc4514_string() for p in found}
    assert all(any(p.title in name for name in names) for p in found)


def test_the_manifest_is_toml() -> None:
    parts = split(parse_rom(ROMS["nvgi"]))
    manifest = tomllib.loads(parts[-1].data.decode())
    assert manifest["format"] == 1
    assert manifest["size"] == len(ROMS["nvgi"])
    assert [p["file"] for p in manifest["part"]] == [p.name for p in parts[:-1]]
    assert manifest["part"][0]["offset"] == 0
    assert manifest["part"][1]["offset"] == 0x4600


def test_a_changed_tile_is_used_and_noted() -> None:
    files = {p.name: p.data for p in split(parse_rom(ROMS["live tail"]))}
    files["03-tail.bin"] = b"other"
    with pytest.raises(EditRefused, match="it was changed since the split") as caught:
        join(files)
    assert caught.value.may_force
    edit = join(files, changed=True)
    assert edit.data == amd() + b"other"
    assert edit.notes == ("03-tail.bin is not what manifest.toml says: it was changed since the "
                          "split",)  # fmt: skip


def test_strange_files_are_ignored() -> None:
    files = {p.name: p.data for p in split(parse_rom(ROMS["desktop"]))}
    assert join(files | {"README": b"x"}).data == ROMS["desktop"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manifest.toml": None}, "manifest.toml is missing"),
        ({"manifest.toml": b"\xff"}, "is not TOML"),
        ({"manifest.toml": b"format = ["}, "is not TOML"),
        ({"manifest.toml": b"format = 2"}, "has format 2"),
        ({"manifest.toml": b"format = 1"}, "names no parts"),
        ({"manifest.toml": b"format = 1\npart = [3]"}, "needs file"),
        ({"manifest.toml": b"#" * (1 << 21)}, "too long"),
        ({"02-image-03-efi.rom": None}, "02-image-03-efi.rom is missing"),
        ({"02-image-03-efi.efi": b"MZ"}, "only a copy"),
        ({"01-image-00-x86.rom": b"no image"}, "3 images are found instead of 4"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, bytes | None], message: str) -> None:
    files = {p.name: p.data for p in split(parse_rom(ROMS["desktop"]))}
    for name, data in change.items():
        if data is None:
            del files[name]
        else:
            files[name] = data
    with pytest.raises(EditRefused, match=message):
        join(files, changed=True)


def test_what_makes_no_rom_is_refused() -> None:
    files = {p.name: p.data for p in split(parse_rom(ROMS["isa"]))}
    (tail,) = set(files) - {"manifest.toml"}
    with pytest.raises(EditRefused, match="the parts make no ROM"):
        join(files | {tail: b"nothing"}, changed=True)


def test_a_driver_may_be_left_out() -> None:
    files = {p.name: p.data for p in split(parse_rom(ROMS["desktop"]))}
    del files["02-image-03-efi.efi"]
    assert join(files).data == ROMS["desktop"]


@given(
    start=st.integers(0, 200),
    content=st.binary(max_size=40),
    name=st.sampled_from(sorted(ROMS)),
)
def test_damaged_roms_come_back_too(start: int, content: bytes, name: str) -> None:
    raw = bytearray(ROMS[name])
    raw[start : start + len(content)] = content
    try:
        rom = parse_rom(bytes(raw))
    except RomError:
        return
    assert join(split(rom)).data == bytes(raw)
