"""`romkit parse` against an independent survey, rom-parser's own output, and itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from romkit_command import run

from romkit import parse_rom
from romkit.checks import DeviceId, verify
from romkit.finding import blocking
from romkit.render.rom_parser import rom_parser_text


def differences(expected: Any, got: Any, path: str = "") -> list[str]:
    """Every key of `expected` that has another value in `got`, or none."""
    if isinstance(expected, dict):
        if not isinstance(got, dict):
            return [f"{path}: expected an object, got {got!r}"]
        out = []
        for key, value in expected.items():
            if key not in got:
                out.append(f"{path}.{key}: missing, expected {value!r}")
            else:
                out += differences(value, got[key], f"{path}.{key}")
        return out
    if isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            return [f"{path}: expected {len(expected)} entries, got {got!r}"]
        pairs = zip(expected, got, strict=True)
        return [d for n, (e, g) in enumerate(pairs) for d in differences(e, g, f"{path}[{n}]")]
    # bool is an int to Python: 1 is no answer to a yes-or-no question.
    same = type(expected) is type(got) and expected == got
    return [] if same else [f"{path}: expected {expected!r}, got {got!r}"]


def test_json_of_every_file_equals_the_survey(corpus: Path, expected: dict[str, Any]) -> None:
    """All files in one command, as a user would."""
    files = [str(corpus / "roms" / name) for name in expected]
    done = run("parse", "--json", *files)
    assert done.stderr == b""
    assert done.returncode == 0
    records = json.loads(done.stdout)
    assert len(records) == len(expected)
    wrong = [
        f"{name}{d}"
        for (name, survey), got in zip(expected.items(), records, strict=True)
        for d in differences(survey, got)
    ]
    assert wrong == []


def test_bytes_come_back_unchanged(rom_data: bytes) -> None:
    assert bytes(parse_rom(rom_data)) == rom_data


def test_rom_parser_format_is_rom_parsers(corpus: Path, rom_name: str, rom_data: bytes) -> None:
    printed = (corpus / "rom-parser" / f"{rom_name}.txt").read_bytes().decode("latin-1")
    text, _, status = printed.rstrip("\n").rpartition("\n")
    if status != "rc=0":
        return  # rom-parser failed on this file
    got, complete = rom_parser_text(parse_rom(rom_data))
    assert got == text
    assert complete


def failing(data: bytes, device: DeviceId | None = None) -> set[str]:
    return {f.check for f in verify(data, device) if f.verdict.value == "fail"}


def read(corpus: Path, prefix: str) -> bytes:
    found = sorted((corpus / "roms").glob(f"{prefix}*"))
    if not found:
        pytest.skip(f"this corpus does not have the ROM whose SHA-256 starts with {prefix}")
    return found[0].read_bytes()


@pytest.mark.parametrize(
    ("prefix", "checks"),
    [
        ("16f1ff99800e", {"rom.container"}),
        ("abd01b4279c0", {
            "rom.last-image", "rom.efi-unreachable", "rom.checksum", "guest.ovmf", "gop.x64",
        }),
        ("c45d2f6b58a7", {"rom.shadow", "rom.last-image", "gop.x64"}),
        ("4347293d3a4f", {"rom.npde-open"}),
        ("17dcc623c5eb", {"rom.container", "efi.digest"}),
        ("6994a5118f7a", {"efi.undecodable", "guest.ovmf"}),
        ("112a64457a95", {"rom.pcir-unaligned", "gop.x64"}),
        ("1229876cdb09", {"rom.vendor-03ea", "efi.signed"}),
        ("065c013488fd", {"rom.container", "rom.firmware-sum"}),
        ("42232c481c03", {"rom.second-copy"}),
        ("9511277d6372", {"rom.no-pcir"}),
        ("090ea8422041", {"rom.last-image"}),
        ("0f002def2d7d", {"gop.x64"}),
        ("eb20b443fa37", {"rom.vendor-swapped"}),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_special_specimens(
    corpus: Path, prefix: str, checks: set[str]
) -> None:
    assert checks <= failing(read(corpus, prefix))


def test_nvidias_own_chain_is_explained_and_no_fault(corpus: Path) -> None:
    for prefix in ("8fc4c6c61d86", "16f1ff99800e", "0f002def2d7d"):
        (found,) = [f for f in verify(read(corpus, prefix)) if f.check == "rom.chains"]
        assert found.verdict.value == "pass"
        assert "only NVIDIA's driver sees" in found.title


def test_damage_and_wrong_assembly_of_real_roms_is_told(corpus: Path) -> None:
    gp106, nvgi = read(corpus, "8fc4c6c61d86"), read(corpus, "16f1ff99800e")
    # The back part of an NVIDIA ROM, from its first own image on.
    back = failing(nvgi[0x20600:])
    assert "rom.no-host-image" in back
    assert not back & {"rom.last-image", "rom.chains", "gop.x64"}
    # One byte of the EFI image's signature lost.
    lost = bytearray(gp106)
    lost[0xF200] = 0
    assert "rom.last-image" in {f.check for f in blocking(verify(bytes(lost)))}
    # Drivers appended behind a last image.
    for front, driver in (("0c60", "eb20"), ("7d85", "090e")):
        data = read(corpus, front) + read(corpus, driver)
        assert "rom.efi-unreachable" in {f.check for f in blocking(verify(data))}
        assert not failing(data) & {"rom.second-copy"}
    # Cut and bare files are no dumps through the ROM BAR.
    for data in (gp106[:170000], nvgi[:70000], read(corpus, "f2f5")):
        assert "rom.npde-open" not in failing(data)


@pytest.mark.parametrize("prefix", ["003a230836f9", "dcf8fe066a46", "89030fa7f693", "4347293d3a4f"])
def test_good_roms_pass(corpus: Path, prefix: str) -> None:
    assert blocking(verify(read(corpus, prefix))) == ()


def test_another_cards_rom_blocks(corpus: Path) -> None:
    """The card was 10de:1f08, its owner downloaded the ROM of a 1e89."""
    findings = verify(read(corpus, "c45d2f6b58a7"), DeviceId(0x10DE, 0x1F08))
    assert "device.id" in {f.check for f in blocking(findings)}


def test_the_right_cards_rom_passes(corpus: Path) -> None:
    device = DeviceId.parse("10de:1c8d", class_code="0302")
    findings = {f.check: f.verdict.value for f in verify(read(corpus, "3b12a2e1ade6"), device)}
    assert findings["device.id"] == "pass"
    assert findings["device.class"] == "pass"
