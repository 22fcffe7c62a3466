"""OVMF is found through QEMU's descriptors, and every one that is not taken is told with why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders.host import HostTree
from builders.vm import CODE, FIRMWARE, KEYS, SECURE, VARS, descriptor, machine, profile

from diag.host import Host
from passthrough.vm.firmware import Flash, find_firmware
from passthrough.vm.problem import BadProfile

SECURE_BOOT = "[firmware]\nsecure_boot = true"


def find(tree: HostTree, text: str = "") -> Flash:
    found = find_firmware(tree.host(), profile(text))
    assert found is not None
    return found


def test_without_secure_boot() -> None:
    found = find(machine())
    assert (found.code, found.template, found.needs_smm) == (CODE, VARS, False)
    assert found.descriptor == f"{FIRMWARE}/60-plain.json"
    assert [(r.descriptor, r.why) for r in found.rejected] == [
        (f"{FIRMWARE}/40-secure.json", "its Secure Boot is on")
    ]


def test_with_secure_boot() -> None:
    found = find(machine(), SECURE_BOOT)
    assert (found.code, found.template, found.needs_smm) == (SECURE, KEYS, True)


def test_bios_needs_none() -> None:
    assert find_firmware(HostTree().host(), profile('[firmware]\nkind = "bios"')) is None


OTHERS = [
    (descriptor(CODE, VARS, arch="aarch64"), "not for x86-64"),
    (descriptor(CODE, VARS, interface="bios"), "no UEFI"),
    (descriptor(CODE, VARS, machines='"pc-i440fx-*"'), "not for q35"),
    (descriptor("/gone.fd", VARS), "/gone.fd is not there"),
    (descriptor(CODE, "/gone.fd"), "/gone.fd is not there"),
    (descriptor(CODE, VARS, form="vmdk"), "its format is vmdk"),
    (descriptor(CODE, VARS, "requires-smm"), "needs SMM"),
    (descriptor(CODE, VARS).replace("flash", "memory"), "not for flash memory"),
    ("{", "damaged"),
    ("[]", "damaged"),
    ("", "masked"),
]


@pytest.mark.parametrize(("text", "why"), OTHERS)
def test_a_candidate_that_is_not_taken_is_told(text: str, why: str) -> None:
    tree = machine().file(f"{FIRMWARE}/50-other.json", text)
    found = find(tree)
    assert found.descriptor == f"{FIRMWARE}/60-plain.json"
    told = {r.descriptor: r.why for r in found.rejected}
    assert why in told[f"{FIRMWARE}/50-other.json"]
    # Alone it is the reason why there is none.
    for name in ("40-secure.json", "60-plain.json"):
        tree.without(f"{FIRMWARE}/{name}")
    with pytest.raises(BadProfile, match="no UEFI firmware") as caught:
        find(tree)
    assert why in caught.value.message
    assert "ovmf" in caught.value.hint


def test_the_administrators_descriptor_comes_first() -> None:
    tree = machine().file("/etc/qemu/firmware/60-plain.json", descriptor(SECURE, VARS))
    found = find(tree)
    assert found.code == SECURE
    assert f"{FIRMWARE}/60-plain.json" in {r.descriptor for r in found.rejected}


def test_qcow2_images_keep_their_format() -> None:
    tree = machine().file(f"{FIRMWARE}/30-a.json", descriptor(CODE, VARS, form="qcow2"))
    assert (find(tree).code_format, find(tree).template_format) == ("qcow2", "qcow2")


def test_the_profile_may_name_its_own() -> None:
    text = f'[firmware]\ncode = "{SECURE}"\ntemplate = "{KEYS}"'
    assert find(machine(), text) == Flash(SECURE, KEYS)


@pytest.mark.skipif(not Path(CODE).exists(), reason="needs ovmf")
def test_the_installed_one_is_found() -> None:
    """Debian's package: what is taken is there, and is what its descriptor says."""
    found = find_firmware(Host(), profile())
    assert found is not None
    said = json.loads(Path(found.descriptor).read_text())
    assert said["mapping"]["executable"]["filename"] == found.code
    assert "enrolled-keys" not in said["features"]
    assert Path(found.template).exists()
