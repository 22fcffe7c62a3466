"""romkit beside its peers, in one run on one machine: ratios, not seconds, are what to compare.

Start-up against a bare interpreter and Typer; parsing against other parsers that are installed.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
ROUNDS = 11


def commands(rounds: int, **named: list[str]) -> dict[str, float]:
    """The median wall time of each command, in seconds; rounds are interleaved."""
    times: dict[str, list[float]] = {name: [] for name in named}
    for number in range(rounds + 1):
        for name, argv in named.items():
            start = time.perf_counter()
            subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            if number:  # the first round warms caches
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def calls(rounds: int, **named: Callable[[], object]) -> dict[str, float]:
    """The median time of each function, in seconds; rounds are interleaved."""
    times: dict[str, list[float]] = {name: [] for name in named}
    for _ in range(rounds):
        for name, function in named.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def table(title: str, times: dict[str, float], base: str) -> None:
    """Print times, and how often each is that of `base`."""
    from tabulate import tabulate

    rows = [
        (name.replace("_", " "), f"{seconds * 1e3:.2f}", f"{seconds / times[base]:.2f}")
        for name, seconds in times.items()
    ]
    print(f"\n{title}\n")
    print(
        tabulate(rows, headers=("what", "ms", f"× {base.replace('_', ' ')}"), disable_numparse=True)
    )


def main() -> None:
    """Measure start-up and parsing, and print both."""
    from romkit import parse_rom, verify
    from romkit.recipe import build_rom, load_recipe
    from romkit.record import record

    text = (ROOT / "tests/fixtures/recipes/nvidia_desktop_pascal_nvgi2.toml").read_text("utf-8")
    data = build_rom(load_recipe(text))
    bare = data[parse_rom(data).rom_offset :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.rom"
        path.write_bytes(bare)
        python = sys.executable
        peers = {}
        if fwupdtool := shutil.which("fwupdtool"):
            peers["fwupdtool_firmware-parse"] = [fwupdtool, "firmware-parse", str(path), "oprom"]
        table(
            "Commands, start-up included",
            commands(
                ROUNDS,
                bare_interpreter=[python, "-c", "pass"],
                interpreter_and_Typer=[python, "-c", "import typer"],
                **{
                    **{
                        f"{name}_--help": [str(BIN / name), "--help"]
                        for name in ("romkit", "diag", "passthrough")
                    },
                    "romkit_parse": [str(BIN / "romkit"), "parse", str(path)],
                    "romkit_parse_--json": [str(BIN / "romkit"), "parse", "--json", str(path)],
                },
                **peers,
            ),
            "interpreter_and_Typer",
        )
    table(
        f"In Python, a ROM of {len(bare)} bytes",
        calls(
            51,
            sha256=lambda: __import__("hashlib").sha256(bare).digest(),
            parse_rom=lambda: parse_rom(bare),
            everything_in_JSON=lambda: record(parse_rom(bare)),
            verify=lambda: verify(parse_rom(bare)),
        ),
        "parse_rom",
    )


if __name__ == "__main__":
    main()
