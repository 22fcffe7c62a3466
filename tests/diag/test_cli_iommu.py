"""``diag iommu`` as a user runs it, on a directory."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from builders.host import HostTree
from builders.pci_tree import CONVENTIONAL, ENDPOINT, FULL, ROOT, add
from typer.testing import CliRunner

from diag.cli import app
from diag.text.reading import parse_text

PORT, GPU, AUDIO, NIC = "0000:00:01.0", "0000:01:00.0", "0000:01:00.1", "0000:02:00.0"
IDS = "/usr/share/misc/pci.ids"


def desktop() -> HostTree:
    tree = HostTree().kernel().cmdline("quiet")
    tree.file(IDS, "10de  NVIDIA Corporation\n\t1c20  GP106M [GeForce GTX 1060 Mobile]\n")
    add(tree, PORT, ROOT, several=True, group=1, driver="pcieport")
    add(tree, "0000:00:01.1", ROOT, several=True, group=1, driver="pcieport")
    add(tree, GPU, ENDPOINT, PORT, vendor=0x10DE, device=0x1C20, group=1, driver="vfio-pci")
    return add(tree, NIC, ENDPOINT, "0000:00:01.1", class_code=0x0200, group=1, driver="e1000e")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return desktop().write(tmp_path / "host")


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["--color", "never", "iommu", *map(str, words)])
    return done.exit_code, done.output


def test_the_text_says_who_why_and_what_now(root: Path) -> None:
    status, out = run("--root", root)
    assert status == 1
    wanted = ("NVIDIA", "GTX 1060", f"shares its group with {NIC}", "why: root port", "SrcValid")
    for word in (*wanted, "not viable now", "e1000e", "ACS override", "not isolation"):
        assert word in out, word


def test_the_list_is_read_back_by_the_reader_of_pasted_text(root: Path) -> None:
    _, out = run("--root", root, "--format", "list")
    assert re.search(
        r"^IOMMU Group 1 01:00\.0 VGA compatible controller \[0300\]: NVIDIA Corporation "
        r"GP106M \[GeForce GTX 1060 Mobile\] \[10de:1c20\]$",
        out,
        re.MULTILINE,
    )
    reading = parse_text(out)
    (group,) = reading.groups
    assert [str(place) for place in group.addresses] == [PORT, "0000:00:01.1", GPU, NIC]
    verdict = reading.verdict(reading.gpus[0])
    assert verdict is not None
    assert [str(place) for place in verdict.strangers] == [NIC]


def test_json_says_the_same(root: Path) -> None:
    status, out = run("--root", root, "--json")
    found = json.loads(out)
    (gpu,) = found["gpus"]
    assert (status, found["groups"], gpu["verdict"]) == (
        1, {"1": [PORT, "0000:00:01.1", GPU, NIC]}, "strangers",
    )  # fmt: skip
    assert (gpu["strangers"], gpu["viable"], gpu["holders"]) == ([NIC], False, [[NIC, "e1000e"]])
    assert {merge["reason"] for merge in gpu["merges"]} == {"path", "functions"}
    assert gpu["path"][0]["missing"] == ["SrcValid", "ReqRedir", "CmpltRedir", "UpstreamFwd"]


def test_the_tree_indents_what_is_below_a_port(root: Path) -> None:
    _, out = run("--root", root, "--format", "tree")
    lines = out.splitlines()
    indents = {
        place: len(line) - len(line.lstrip())
        for line in lines
        for place in (PORT, GPU)
        if line.lstrip().startswith(f"{place} group")
    }
    assert indents[GPU] > indents[PORT]
    assert any("no ACS capability" in line for line in lines)


def test_another_device_can_be_asked_for(root: Path) -> None:
    status, out = run("--root", root, "--json", "02:00.0")
    assert status == 1
    assert [gpu["address"] for gpu in json.loads(out)["gpus"]] == [NIC]
    assert run("--root", root, "09:00.0")[0] == 3
    assert run("--root", root, "nonsense")[0] == 2


def test_the_picture_is_sound_and_hostile_names_stay_text(tmp_path: Path) -> None:
    tree = desktop().file(IDS, "10de  <script>alert(1)</script>\n\t1c20  \x1b[31m&\n")
    root, picture = tree.write(tmp_path / "host"), tmp_path / "groups.svg"
    run("--root", root, "--svg", picture)
    element = ET.fromstring(picture.read_text())
    texts = [node.text or "" for node in element.iter() if node.tag.endswith("text")]
    assert any(text == GPU for text in texts)
    assert "group 1" in texts
    assert not [node for node in element.iter() if node.tag.endswith("script")]
    assert "\x1b" not in picture.read_text()
    # What is there is not overwritten.
    assert run("--root", root, "--svg", picture)[0] == 3
    assert run("--root", root, "--svg", picture, "--force")[0] == 1


def test_a_good_machine_exits_with_0(tmp_path: Path) -> None:
    tree = add(HostTree().kernel().cmdline(""), PORT, ROOT, acs=(FULL, FULL), group=1)
    root = add(tree, GPU, ENDPOINT, PORT, group=2, driver="vfio-pci").write(tmp_path / "host")
    status, out = run("--root", root)
    assert (status, "isolated in group 2" in out) == (0, True)


def test_without_an_iommu_each_part_is_named(tmp_path: Path) -> None:
    tree = add(HostTree().kernel().cmdline(""), PORT, ROOT)
    root = add(tree, GPU, ENDPOINT, PORT).write(tmp_path / "host")
    status, out = run("--root", root)
    assert status == 1
    for part in ("cpu", "firmware", "kernel", "command line"):
        assert f"  {part}: " in out
    assert run("--root", root, "--format", "list")[0] == 1


@pytest.mark.parametrize("words", [
    ("--json", "--svg", "-"), ("--json", "--format", "list"), ("--json", "--format", "table"),
    ("--format", "list", "--svg", "-"), ("--svg", "-", "--format", "tree"),
])  # fmt: skip
def test_two_things_for_one_output_are_a_usage_error(root: Path, words: tuple[str, ...]) -> None:
    assert run("--root", root, *words)[0] == 2


def test_one_thing_for_each_output_is_fine(root: Path, tmp_path: Path) -> None:
    status, out = run("--root", root, "--json", "--svg", tmp_path / "a.svg")
    assert (status, json.loads(out)["in_use"]) == (1, True)
    status, out = run("--root", root, "--svg", "-")
    assert (status, ET.fromstring(out).tag.endswith("svg")) == (1, True)


def test_without_an_iommu_and_with_all_its_parts_it_says_where_to_look(tmp_path: Path) -> None:
    tree = HostTree().kernel(config={"CONFIG_INTEL_IOMMU": "y"}).cmdline("intel_iommu=on")
    tree.file("/proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: vmx\n")
    tree.file("/sys/firmware/acpi/tables/DMAR", b"DMAR")
    root = add(add(tree, PORT, ROOT), GPU, ENDPOINT, PORT).write(tmp_path / "host")
    status, out = run("--root", root)
    assert (status, "missing" in out) == (1, False)
    assert "try: look in the kernel log for DMAR or AMD-Vi" in out


def unsure() -> HostTree:
    """The group is the GPU's and its port's own; whether the port does ACS only root sees."""
    tree = HostTree().kernel().cmdline("")
    add(tree, PORT, ROOT, acs=(FULL, FULL), group=1, size=64)
    add(tree, "0000:00:01.1", ROOT, acs=(FULL, FULL), several=True, group=2, size=64)
    return add(tree, GPU, ENDPOINT, PORT, group=1, driver="vfio-pci")


def test_what_may_join_an_isolated_gpu_is_for_the_tree(tmp_path: Path) -> None:
    root = unsure().write(tmp_path / "host")
    _, table = run("--root", root)
    assert "isolated in group 1" in table
    assert "why" not in table
    assert "why: " in run("--root", root, "--format", "tree")[1]


def test_the_picture_explains_its_colours_and_blames_no_bystander(tmp_path: Path) -> None:
    # A part of the chipset, conventional PCI by its config, that joins nothing.
    tree = add(desktop(), "0000:00:1f.3", CONVENTIONAL, class_code=0x0403, group=9)
    _, out = run("--root", tree.write(tmp_path / "host"), "--svg", "-")
    texts = [node for node in ET.fromstring(out).iter() if node.tag.endswith("text")]
    inks = {node.text or "": node.get("fill") for node in texts}
    (red,) = [ink for text, ink in inks.items() if text.startswith("red:")]
    (grey,) = [ink for text, ink in inks.items() if text.startswith("grey:")]
    assert any(text.startswith("blue:") for text in inks)
    # All of it is inside the picture, at 6 pixels a letter.
    assert all(int(node.get("x", 0)) + 6 * len(node.text or "") < 900 for node in texts[1:5])
    assert [ink for text, ink in inks.items() if "conventional PCI" in text] == [grey]
    assert {ink for text, ink in inks.items() if "no ACS capability" in text} == {red}


def test_an_empty_directory_is_no_crash(tmp_path: Path) -> None:
    status, out = run("--root", tmp_path)
    assert (status, "there is none" in out) == (0, True)
