"""100,000 mutated ROMs: only RomError, none slow, none large."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from builders.rom import nvidia_desktop
from corpus.conftest import corpus_dir

from romkit.recipe import build_rom, load_recipe

HERE = Path(__file__).parent
SHARDS = 10
INPUTS = 100_000


def built(tmp_path: Path) -> list[str]:
    """The ROMs of all recipes."""
    paths = []
    for recipe in sorted((HERE / "fixtures/recipes").glob("*.toml")):
        path = tmp_path / f"{recipe.stem}.rom"
        path.write_bytes(build_rom(load_recipe(recipe.read_text(encoding="utf-8"))))
        paths.append(str(path))
    assert len(paths) > 20
    return paths


def dumped() -> list[str]:
    """The real dumps, but for the largest, where there are any."""
    folder = corpus_dir()
    files = sorted((folder / "roms").iterdir()) if folder else []
    return [str(path) for path in files if path.stat().st_size <= 1 << 19]


def fuzz(seed: int, count: int, files: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, str(HERE / "fuzz.py"), str(seed), str(count), *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout)
    assert summary["errors"] == []
    assert summary["inputs"] == count
    # Processor time, so that a busy machine does not fail the test.
    assert summary["worst"] < 1
    assert summary["grown"] < 64 << 20


def test_a_thousand_mutated_roms(tmp_path: Path) -> None:
    fuzz(1, 1000, built(tmp_path))


@pytest.mark.parametrize(
    "data",
    [
        b"NVFW" + bytes(12) + (b"RFRD" + bytes(12)) * 65536,
        nvidia_desktop() + b"NVGI" * (1 << 20),
        nvidia_desktop() + (b"NVGI" + bytes(508)) * (1 << 14),
        b"X" + b"\x55\xaa" * (1 << 20),
        b"BIT\0\xff\xb8" * (1 << 18),
    ],
    ids=["RFRD", "NVGI", "NVGI at blocks", "55 AA", "BIT"],
)
def test_a_flood_of_signatures(data: bytes, tmp_path: Path) -> None:
    """One input that is all signatures: the searches give up in time."""
    path = tmp_path / "flood"
    path.write_bytes(data)
    fuzz(1, 1, [str(path)])


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_hundred_thousand_mutated_roms(shard: int, tmp_path: Path) -> None:
    # Real dumps take longer to read than what the recipes build: they get a tenth of the inputs.
    files = (shard == 0 and dumped()) or built(tmp_path)
    fuzz(1000 + shard, INPUTS // SHARDS, files)
