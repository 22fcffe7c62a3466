"""`diag gpu` as a user meets it: a process, a status, text or JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders.host import HostTree
from builders.laptop import AUDIO, GPU, INTEGRATED, PORT, acer, clevo, laptop
from typer.testing import CliRunner

from diag.cli import app


def run(*args: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def rooted(tree: HostTree, folder: Path) -> Path:
    return tree.write(folder)


def test_the_clevo_of_the_field_report(tmp_path: Path) -> None:
    """Group 1, isolated with its port; rev ff was lspci's word for a card that bbswitch had off."""
    status, out, _ = run("gpu", "--root", rooted(clevo(), tmp_path), "--json")
    record = json.loads(out)
    assert status == 1
    assert (record["address"], record["ids"], record["subsystem"]) == (
        GPU,
        "10de:1c20",
        "1558:65a1",
    )
    assert record["group"] == {
        "number": 1, "members": [PORT, GPU], "isolation": "isolated", "strangers": [],
    }  # fmt: skip
    assert (record["power"], record["awake"]) == ("switched off", False)
    # Its file is not read: that would wake the port.
    assert record["switches"]["bbswitch"]["state"] is None
    assert record["switches"]["bbswitch"]["parameters"] == {"load_state": "0", "unload_state": "1"}
    blocks = [f["check"] for f in record["findings"] if f["severity"] == "blocker"
              and f["verdict"] == "fail"]  # fmt: skip
    assert blocks == ["power.state"]


def test_the_acer_of_the_field_report(tmp_path: Path) -> None:
    _, out, _ = run("gpu", "--root", rooted(acer(), tmp_path), "--json", "--wake")
    record = json.loads(out)
    assert (record["class"], record["driver"], record["awake"]) == ("0302", "nvidia", True)
    assert {name: s["state"] for name, s in record["switches"].items()} == {
        "bbswitch": "ON", "nvhda": "ON",
    }  # fmt: skip
    assert [s["address"] for s in record["siblings"]] == [AUDIO]
    failed = {f["check"] for f in record["findings"] if f["verdict"] == "fail"}
    assert {"gpu.muxless", "driver.gpu", "audio.driver", "power.switches"} <= failed


def test_a_gpu_in_order_is_one_page_and_fine(tmp_path: Path) -> None:
    status, out, err = run("gpu", "--root", rooted(laptop(), tmp_path))
    assert (status, err) == (0, "")
    assert out.splitlines()[0].startswith(GPU)
    for word in ("10de:1c20", "subsystem 1558:65a1", "vfio-pci", "awake", "isolated",
                 "256 MiB", "ROM BAR of 512 KiB", "flr, bus", AUDIO):  # fmt: skip
        assert word in out
    assert len(out.splitlines()) < 40


def test_the_one_to_hand_over_comes_first_and_another_can_be_named(tmp_path: Path) -> None:
    folder = rooted(laptop(), tmp_path)
    assert json.loads(run("gpu", "--root", folder, "--json")[1])["address"] == GPU
    record = json.loads(run("gpu", "00:02.0", "--root", folder, "--json")[1])
    assert (record["address"], record["integrated"]) == (INTEGRATED, True)
    assert all(f["subject"] == INTEGRATED for f in record["findings"])


@pytest.mark.parametrize(("address", "status", "words"), [
    ("00:01.0", 3, f"no GPU at {PORT}"),
    ("0f:00.0", 3, "no device at 0000:0f:00.0"),
    ("gpu0", 2, "no PCI address"),
])  # fmt: skip
def test_what_is_no_gpu(tmp_path: Path, address: str, status: int, words: str) -> None:
    got, out, err = run("gpu", address, "--root", rooted(laptop(), tmp_path))
    assert (got, out) == (status, "")
    assert words in err
    if status == 3:
        assert f"the GPUs here: {INTEGRATED}, {GPU}" in err


def test_a_machine_without_gpu(tmp_path: Path) -> None:
    status, out, err = run("gpu", "--root", rooted(HostTree().kernel(), tmp_path), "--json")
    assert (status, json.loads(out)["error"]) == (3, "there is no GPU here")
    assert "diag report" in err


def test_the_vm_is_weighed(tmp_path: Path) -> None:
    folder, line = rooted(laptop(), tmp_path / "root"), tmp_path / "start.sh"
    line.write_text("qemu-system-x86_64 -M q35 -cpu host -device vfio-pci,host=01:00.0\n")
    _, out, _ = run("gpu", "--root", folder, "--vm", line, "--json")
    found = {f["check"]: f["verdict"] for f in json.loads(out)["findings"]}
    assert (found["vm.hidden"], found["vm.gpu"], found["vm.irqchip"]) == ("fail", "pass", "unknown")
    line.write_text("not a machine\n")
    status, out, err = run("gpu", "--root", folder, "--vm", line)
    assert (status, out) == (3, "")
    assert "neither libvirt's XML nor a QEMU command line" in err
    assert run("gpu", "--root", folder, "--vm", tmp_path / "gone")[0] == 3


def test_what_strangers_wrote_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    tree = laptop(driver_override="\x1b]0;title", power_state="D0\x1b[2J")
    tree.file("/proc/9/comm", "evil\x1b[2J").link("/proc/9/fd/3", "/dev/vfio/1")
    _, out, _ = run("gpu", "--root", rooted(tree, tmp_path))
    assert "\x1b" not in out


def test_code_43_is_explained_with_this_machine_and_this_vm(tmp_path: Path) -> None:
    folder, line = rooted(laptop(), tmp_path / "root"), tmp_path / "start.sh"
    line.write_text("qemu-system-x86_64 -M q35 -cpu host -device vfio-pci,host=01:00.0\n")
    status, out, _ = run("explain", "code43", "--root", folder, "--vm", line, "--json")
    found = {f["check"]: f["verdict"] for f in json.loads(out)["findings"]}
    assert (found["vm.hidden"], found["driver.vm-rule"], found["vm.irqchip"]) == (
        "fail", "pass", "unknown",
    )  # fmt: skip
    # Nothing of it blocks: it may do with a driver since R465.
    assert (status, found["iommu.on"]) == (0, "pass")
    status, out, _ = run("explain", "code43", "--root", rooted(clevo(), tmp_path / "clevo"))
    assert status == 1
    assert "bbswitch has switched it off" in out
    assert "--vm FILE" in out
