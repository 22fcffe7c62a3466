"""Whatever the bytes say: ROMs, RomError, or nothing; and what is found is really there."""

from __future__ import annotations

import gzip
import time

import pytest
from builders import firmware as fw
from builders.archive import zipped
from builders.hive import hive
from builders.rom import image, nvfw, nvgi, nvidia_desktop, nvidia_mobile, pcir, vfct
from builders.text import acpidump, exported, registry_text
from hypothesis import given, settings
from hypothesis import strategies as st

from romkit import RomError
from romkit.find import find_roms
from romkit.find import stream as limits

ROM = nvidia_mobile()
SECTION = fw.section(fw.RAW, ROM)


def volume(packed: bytes) -> bytes:
    return fw.volume(fw.file(fw.FFS2, fw.FILE_FREEFORM, packed), fw.file(fw.FFS2, 1, ROM))


SAMPLES = {
    "raw": b"12345" + ROM + nvidia_desktop() + ROM,
    "containers": nvgi(3, ROM) + nvfw(ROM) + vfct(ROM, image(pcir())),
    "LZMA": volume(fw.lzma_guided(SECTION)),
    "LZMA, filtered": volume(fw.lzma_x86_guided(SECTION)),
    "EFI": volume(fw.efi_compressed(SECTION)),
    "Tiano": volume(fw.tiano_guided(SECTION)),
    "zlib": volume(fw.amd_zlib_guided(SECTION)),
    "custom": volume(fw.custom_compressed(SECTION)),
    "nested": volume(fw.lzma_guided(fw.section(fw.FV_IMAGE, volume(fw.guided(fw.CRC32, SECTION))))),
    "flash": fw.spi(fw.capsule(volume(SECTION)), size=0x10000, at=0x2000),
    "AMI": fw.ami_pfat(fw.bios_guard(ROM[:1024], 0, signed=True), fw.bios_guard(ROM[1024:], 1024)),
    "Dell": fw.pfs(fw.pfs(fw.bios_guard(ROM[1024:], 1024), fw.bios_guard(ROM[:1024], 0)), ROM),
    "Dell program": fw.dell_program(fw.pfs(ROM)),
    "hive": hive({"A": {"B": {"vbios": ROM.ljust(40000, b"\xff")}}, "vbios": ROM}),
    "export": registry_text(("A\\B", exported(ROM))).encode("utf-16"),
    "acpidump": acpidump(vfct(ROM)).encode(),
    "zip": zipped(8, a=ROM, b=volume(SECTION)),
    "gzip": gzip.compress(ROM),
}


def check(data: bytes) -> int:
    """Search, and compare what was found with where it is said to be."""
    number = 0
    try:
        for found in find_roms(data, note=lambda text: None):
            number += 1
            assert found.rom.images
            assert found.rom.container is None
            assert found.name
            assert repr(found)
            assert found.where
            for place in found.where:
                assert str(place)
                if not place.packed:
                    assert data[place.offset : place.offset + len(found.data)] == found.data
    except RomError:
        pass
    return number


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_have_roms(name: str) -> None:
    assert check(SAMPLES[name])


@pytest.mark.parametrize("name", SAMPLES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_mutation(name: str, data: st.DataObject) -> None:
    raw = bytearray(SAMPLES[name])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        value = data.draw(
            st.sampled_from([b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff"])
        )
        raw[at : at + len(value)] = value
    cut = data.draw(st.integers(len(raw) // 2, len(raw)))
    check(bytes(raw[:cut]))


@given(st.lists(st.sampled_from(sorted(SAMPLES)), min_size=2, max_size=3), st.integers(0, 4096))
@settings(max_examples=40, deadline=None)
def test_things_behind_and_over_one_another(names: list[str], overlap: int) -> None:
    whole = b""
    for name in names:
        whole = whole[: max(0, len(whole) - overlap)] + SAMPLES[name]
    check(whole)


HEADS = (
    b"", b"regf", b"PK\3\4", b"PK\5\6", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"_FVH", b"MZ",
    b"VFCT", b"NVGI", b"NVFW", b"PFS.HDR.", b"12345678_AMIPFAT", b"REGEDIT4\n", b"VFCT @ 0x0\n",
    b"7z\xbc\xaf\x27\x1c", bytes(16) + b"\x5a\xa5\xf0\x0f",
    bytes.fromhex("eeaa761becbb20f1e651ff789c"),
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(HEADS), st.binary(max_size=200)), max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_bytes_behind_a_signature(parts: list[tuple[bytes, bytes]]) -> None:
    check(b"".join(head + junk for head, junk in parts))


# Small files that ask for much work. The limit is far above what they take (0.1 s to 0.5 s
# with the lowered allowance), and far below what they would take without one.


def bomb_of_sections() -> bytes:
    many = fw.lzma_guided(b"\x04\0\0\x19" * 65536)
    return fw.volume(fw.file(fw.FFS2, 2, fw.lzma_guided(fw.sections(*[many] * 1000))))


HEADER = image(pcir(blocks=8192, indicator=0), blocks=1, size_byte=0, body={3: b"\0"})[:0x60]

HOSTILE = {
    "sections in sections": bomb_of_sections,
    "headers without images": lambda: (HEADER + bytes(32)) * 20000,
    "signatures": lambda: b"\x55\xaa" * (1 << 20),
    "volumes": lambda: fw.volume()[:0x48] * 50000,
    "containers": lambda: (b"NVGI" + b"VFCT" + b"NVFW") * 100000,
    "keys": lambda: hive({"vbios": b"x" * 99}) + b"nk" * 500000,
    "updates": lambda: b"PFS.HDR.\1\0\0\0\0\x10\0\0" * 100000,
    "values": lambda: b"REGEDIT4\n" + b'"vbios"=hex:' * 100000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_work_is_bounded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = limits.Allowance.__init__
    monkeypatch.setattr(limits.Allowance, "__init__", lambda own, to=None: made(own, to, 20000))
    data = HOSTILE[name]()
    start = time.process_time()
    check(data)
    assert time.process_time() - start < 5
