"""ROMs in archives, and ACPI tables as text."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import tracemalloc
import zipfile

import pytest
from builders import firmware as fw
from builders.archive import zipped
from builders.rom import image, nvidia_desktop, pcir, vfct
from builders.text import acpidump

from romkit.find import find_roms
from romkit.find import stream as limits

ROM = nvidia_desktop()
OTHER = image(pcir(vendor=0x1002, device=0x73FF))


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def find(data: bytes, **options: int) -> list[tuple[bytes, list[str]]]:
    notes: list[str] = []
    found = list(find_roms(data, note=notes.append, **options))
    assert notes == []
    return [(f.data, [str(place) for place in f.where]) for f in found]


def noted(data: bytes) -> tuple[list[bytes], list[str]]:
    notes: list[str] = []
    return [f.data for f in find_roms(data, note=notes.append)], notes


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("program", [b"", b"MZ" + bytes(500)], ids=["archive", "program"])
def test_zip(method: int, program: bytes) -> None:
    blob = program + zipped(method, a=noise(100) + ROM, b=OTHER, empty=b"")
    first, second = find(blob)
    assert first[0] == ROM
    assert first[1] == ["folder/a.rom > 0x64"]
    assert second == (OTHER, ["folder/b.rom > 0x0"])


PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("name", PACKERS)
def test_a_packed_file(name: str) -> None:
    pack = PACKERS[name]
    assert find(pack(noise(7) + ROM)) == [(ROM, [f"{name} file > 0x7"])]
    assert find(pack(noise(7) + ROM[:600]) + pack(ROM[600:])) == [(ROM, [f"{name} file > 0x7"])]


@pytest.mark.parametrize("name", PACKERS)
def test_a_packed_file_that_is_cut_short(name: str) -> None:
    # bzip2 gives whole blocks of 900 KB only.
    packed = PACKERS[name](ROM + noise(2 << 20))
    found, (note,) = noted(packed[:-1000])
    assert found == [ROM]
    assert "damaged or cut off" in note


@pytest.mark.parametrize("name", PACKERS)
def test_what_follows_a_packed_file_is_no_damage(name: str) -> None:
    for behind in (bytes(600), noise(600), b"text"):
        assert find(PACKERS[name](ROM) + behind) == [(ROM, [f"{name} file > 0x0"])]


def test_tar_gz() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in (("a", noise(1000)), ("b", ROM), ("c", OTHER)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert [data for data, _ in find(out.getvalue())] == [ROM, OTHER]


def test_a_firmware_update_in_a_zip() -> None:
    update = fw.volume(fw.file(fw.FFS2, fw.FILE_FREEFORM, fw.lzma_guided(fw.section(0x19, ROM))))
    ((data, (place,)),) = find(zipped(8, bios=fw.spi(update)))
    assert data == ROM
    assert place.startswith("folder/bios.rom > BIOS region 0x100000 > volume ")


def test_archives_in_archives_are_opened_as_deep_as_asked() -> None:
    twice = gzip.compress(zipped(8, a=ROM))
    assert noted(twice) == ([], ["gzip file is a ZIP archive in another: unpack it first"])
    assert find(twice, archives=2) == [(ROM, ["gzip file > folder/a.rom > 0x0"])]


def test_an_archive_in_an_archive_is_searched_as_it_is() -> None:
    """What is only stored in it can be seen; that there may be more is said."""
    inner = zipped(zipfile.ZIP_STORED, a=ROM)
    found, notes = noted(zipped(8, inner=inner, packed=gzip.compress(ROM)))
    assert found == [ROM]
    assert notes == [
        "folder/inner.rom is a ZIP archive in another: unpack it first",
        "folder/packed.rom is a gzip file in another: unpack it first",
    ]


@pytest.mark.parametrize("adjusted", [False, True], ids=["from the ZIP", "from the program"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_program_in_front_of_a_zip_is_searched_too(method: int, adjusted: bool) -> None:
    program = b"MZ" + noise(4096) + OTHER + noise(99)
    if adjusted:
        out = io.BytesIO(program)
        out.seek(0, io.SEEK_END)
        with zipfile.ZipFile(out, "a", method) as archive:
            archive.writestr("a.rom", ROM)
        blob, place = out.getvalue(), "a.rom > 0x0"
    else:
        blob, place = program + zipped(method, a=ROM), "folder/a.rom > 0x0"
    assert sorted(find(blob)) == sorted([(ROM, [place]), (OTHER, ["0x1002"])])


def test_a_zip_that_only_claims_to_start_early_hides_nothing() -> None:
    out = io.BytesIO(b"MZ" + noise(4096) + OTHER)
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("a.rom", noise(99))
    blob = bytearray(out.getvalue())
    struct.pack_into("<I", blob, blob.index(b"PK\1\2") + 42, 7)
    assert find(bytes(blob)) == [(OTHER, ["0x1002"])]


def test_nothing_is_opened_at_depth_zero() -> None:
    notes: list[str] = []
    assert list(find_roms(zipped(8, a=ROM), depth=0, note=notes.append)) == []
    assert notes == ["folder/a.rom lies too deep: left"]


def test_a_damaged_zip_is_searched_as_it_is() -> None:
    blob = zipped(zipfile.ZIP_STORED, a=ROM, b=noise(99))
    ((data, places),) = find(blob[:-30])
    assert data == ROM
    assert places == [f"{blob.index(ROM):#x}"]


def test_encrypted_and_exotic_members_are_noted() -> None:
    blob = bytearray(zipped(8, a=ROM, b=OTHER))
    first = blob.index(b"PK\1\2", blob.index(b"PK\1\2") + 4)
    blob[first + 8] |= 1
    second = blob.index(b"PK\1\2", first + 4)
    blob[second + 10] = 93
    assert noted(bytes(blob)) == (
        [],
        [
            "folder/a.rom is encrypted: unpack it first",
            "folder/b.rom is packed by method 93: unpack it first",
        ],
    )
    assert noted(zipped(8, a=b"7z\xbc\xaf\x27\x1c" + noise(99))) == (
        [],
        ["folder/a.rom is a 7z archive: unpack it first"],
    )


class TestBombs:
    """Small files that would become large ones."""

    @pytest.fixture(autouse=True)
    def small_limits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "MAX_HELD", 8 << 20)
        default = limits.Allowance.__init__
        monkeypatch.setattr(
            limits.Allowance, "__init__", lambda own, note_to=None: default(own, note_to, 5000)
        )

    @pytest.mark.parametrize("name", PACKERS)
    def test_one(self, name: str) -> None:
        bomb = PACKERS[name](ROM + bytes(64 << 20))
        tracemalloc.start()
        try:
            found, notes = noted(bomb)
            assert tracemalloc.get_traced_memory()[1] < 24 << 20
        finally:
            tracemalloc.stop()
        assert found == [ROM]
        assert len(notes) == 1
        assert notes[0].startswith("more than 8388608 bytes come out")

    def test_many_members_over_one_another(self) -> None:
        """A directory whose members are all the same bytes."""
        bomb = bytearray(zipped(8, a=ROM + bytes(4 << 20)))
        entry_at = bomb.index(b"PK\1\2", bomb.index(b"PK\1\2") + 4)
        end_at = bomb.index(b"PK\5\6")
        directory = bytes(bomb[bomb.index(b"PK\1\2") : end_at])
        entry = bytes(bomb[entry_at:end_at])
        end = bytearray(bomb[end_at:])
        struct.pack_into("<I", end, 12, len(directory) + 1000 * len(entry))
        found, _ = noted(bytes(bomb[:end_at]) + 1000 * entry + bytes(end))
        assert found == [ROM]

    def test_in_sections(self) -> None:
        section = fw.lzma_guided(bytes(12 << 20))
        found, notes = noted(fw.volume(*[fw.file(fw.FFS2, fw.FILE_FREEFORM, section)] * 9))
        assert found == []
        assert notes


def test_a_gzip_head_alone_is_searched_as_it_is() -> None:
    assert [data for data, _ in find(b"\x1f\x8b\x08" + ROM)] == [ROM]


def test_zlib_errors_of_all_kinds() -> None:
    packed = bytearray(gzip.compress(noise(5000) + ROM))
    for at in range(10, len(packed), 97):
        broken = bytearray(packed)
        broken[at] ^= 0x55
        list(find_roms(bytes(broken)))


# ACPI.


@pytest.mark.parametrize("wide", [False, True])
def test_acpidump_text(wide: bool) -> None:
    other = acpidump(b"SSDT" + noise(333))
    text = other + acpidump(vfct(OTHER, image(pcir(blocks=3), blocks=3)), wide=wide) + other
    first, second = find(text.encode())
    at = len(other)
    assert first == (
        OTHER,
        [f"acpidump text {at:#x} > VFCT table 0x0 > entry 04:00.0 1002:1636 > 0x68"],
    )
    assert len(second[0]) == 3 * 512


def test_acpidump_text_that_is_cut_short() -> None:
    text = acpidump(vfct(OTHER))
    ((data, _),) = find(text[: len(text) // 2].encode())
    assert OTHER.startswith(data)
    assert find(b"VFCT @ 0x0\nnothing") == []


def test_what_is_unpacked_is_held_once() -> None:
    """Members one after the other, members of one file, filtered sections: never two at a time."""
    size = 16 << 20
    code = b"\xe8\1\2\3\0\x90\x90\x90" * (size // 8)
    filtered = fw.volume(fw.file(fw.FFS2, 2, fw.sections(*[fw.lzma_x86_guided(code)] * 2)))
    blobs = {
        "members": zipped(8, a=bytes(size), b=bytes(size), c=bytes(size)),
        "files": gzip.compress(bytes(size // 2)) * 2,
        "sections": filtered,
    }
    for name, blob in blobs.items():
        tracemalloc.start()
        try:
            noted(blob)
            assert tracemalloc.get_traced_memory()[1] < 1.6 * size, name
        finally:
            tracemalloc.stop()


def test_what_is_in_one_another_is_held_within_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_HELD", 16 << 20)
    inner = fw.sections(fw.section(fw.RAW, bytes(10 << 20)))
    outer = fw.sections(fw.lzma_guided(inner), fw.section(fw.RAW, bytes(10 << 20)))
    blob = fw.volume(fw.file(fw.FFS2, 2, fw.lzma_guided(outer)))
    _, notes = noted(blob)
    assert [note for note in notes if note.startswith("more than ")]
