"""Devices as udev lists them and as the kernel has them: the same, whoever is asked."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import diag
from diag import udev
from diag.host import Host

FOLDERS = {
    name: Path(
        "/sys", "bus" if name == "pci" else "class", name, "devices" if name == "pci" else ""
    )
    for name in ("pci", "net", "drm", "sound", "graphics", "block", "power_supply", "vc")
}
HERE = [name for name, folder in FOLDERS.items() if folder.is_dir()]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What was found out about libudev is found out anew, before and after."""
    udev._context.cache_clear()
    yield
    udev._context.cache_clear()


def in_sysfs(name: str) -> tuple[str, ...]:
    return tuple(sorted(p.name for p in FOLDERS[name].iterdir() if p.is_symlink()))


@pytest.mark.parametrize("name", HERE)
def test_udev_and_the_kernel_list_the_same(name: str) -> None:
    listed = udev.listed(name)
    if listed is None:
        pytest.skip("no libudev on this machine")
    assert sorted(listed) == list(in_sysfs(name))
    assert Host().devices(name) == in_sysfs(name)


@pytest.mark.parametrize("known", [None, frozenset(), frozenset({"gone since", "lo"})])
def test_the_kernels_list_decides_where_udev_knows_less_or_more(
    known: frozenset[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device between the kernel's discovery and udev's is not lost, and none is made up."""
    monkeypatch.setattr(udev, "listed", lambda _name: known)
    for name in HERE:
        assert Host().devices(name) == in_sysfs(name)


def test_a_machine_without_libudev_has_its_devices_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda _name: None)
    monkeypatch.setattr("pyudev._ctypeslib.utils.find_library", lambda _name: None)
    assert udev.listed("net") is None
    assert udev.properties("net", "lo") == {}
    assert udev.monitors(("net",), daemon=True) == ()
    assert Host().devices("net") == in_sysfs("net")
    with Host().uevents("net") as events:
        assert events.until(lambda: True, 1)


def test_a_directory_is_read_and_udev_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError("this machine's udev was asked about another machine")

    for name in ("listed", "properties", "monitors"):
        monkeypatch.setattr(udev, name, asked)
    places = ("devices/a", "devices/b", "class/drm", "bus/pci/devices")
    for place in places:
        (tmp_path / "sys" / place).mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "sys/class/drm" / name).symlink_to(f"../../devices/{name}")
    (tmp_path / "sys/class/drm/version").write_text("drm 1.1.0 20060810\n")
    host = Host(tmp_path)
    assert host.devices("drm") == ("a", "b")
    assert host.devices("pci") == ()
    assert host.devices("sound") is None
    with host.uevents("pci") as events:
        assert not events.until(lambda: False, 600)


def test_listing_reads_neither_config_nor_an_attribute_that_may_block() -> None:
    """libudev's part of it is no Python: the kernel is asked what was opened."""
    if shutil.which("strace") is None or udev.listed("pci") is None:
        pytest.skip("no strace, or no libudev, on this machine")
    script = "from diag.host import Host; print(len(Host().devices('pci') or ()))"
    run = subprocess.run(
        ["strace", "-f", "-e", "trace=open,openat", sys.executable, "-c", script],
        capture_output=True, text=True, check=False, cwd=Path(diag.__file__).parent.parent,
    )  # fmt: skip
    if run.returncode != 0:
        pytest.skip(f"no process can be traced here: {run.stderr[-200:]}")
    assert int(run.stdout) == len(in_sysfs("pci"))
    opened = [line.split('"')[1] for line in run.stderr.splitlines() if '"' in line]
    assert "/sys/bus/pci/devices/" in opened, "libudev was not asked"
    read = {Path(path).name for path in opened}
    assert not read & {"config", "uevent", "resource", "rom", "power_state", "vpd"}


def test_nothing_but_the_door_knows_udev() -> None:
    importers: dict[str, set[str]] = {"pyudev": set(), "diag.udev": set()}
    for path in Path(diag.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
            for name, found in importers.items():
                if name in names:
                    found.add(path.name)
    assert importers == {"pyudev": {"udev.py"}, "diag.udev": {"host.py"}}
