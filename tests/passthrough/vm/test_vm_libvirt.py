"""libvirt's domain: its own schema and its own parser take what is built."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from builders.vm import guest, xml
from builders.vm_choices import profiles
from hypothesis import Phase, given, settings

from passthrough.vm.libvirt import build_domain

needs_libvirt = pytest.mark.skipif(
    shutil.which("virt-xml-validate") is None or shutil.which("virsh") is None,
    reason="needs libvirt-clients",
)
QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
GPU = '[gpu]\naddress = "01:00.0"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("libvirt")


def run(*argv: str) -> None:
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@needs_libvirt
@settings(max_examples=20, deadline=None, phases=[Phase.generate])  # 0.5 s each
@given(text=profiles())
def test_libvirt_takes_any_valid_profile(folder: Path, text: str) -> None:
    file = folder / "domain.xml"
    file.write_text(build_domain(guest(text)).xml)
    run("virt-xml-validate", str(file), "domain")
    run("virsh", "-c", "test:///default", "define", "--validate", str(file))


def test_ids_are_decimal_where_libvirt_wants_them_so() -> None:
    """0x1025 is 4133, 0x118b is 4491."""
    found = {
        (device.get("alias"), item.get("name")): item.get("value")
        for device in xml(f'{GPU}subsystem = "1025:118b"').iter(f"{QEMU}device")
        for item in device.iter(f"{QEMU}property")
    }
    assert found == {
        (alias, f"x-pci-sub-{name}-id"): value
        for alias in ("ua-gpu", "ua-gpu-audio")
        for name, value in (("vendor", "4133"), ("device", "4491"))
    }


def test_aliases_of_overrides_are_those_of_devices() -> None:
    domain = xml(f'{GPU}[integrated]\nmdev = "x"\nrom = "i.rom"')
    aliases = {element.get("name") for element in domain.iter("alias")}
    assert {element.get("alias") for element in domain.iter(f"{QEMU}device")} <= aliases


def test_the_host_address_is_inside_source() -> None:
    """The other one is the guest's."""
    hostdev = xml(GPU).find("devices/hostdev")
    assert hostdev is not None
    assert hostdev.get("managed") == "no"
    source, place = hostdev.find("source/address"), hostdev.find("address")
    assert source is not None
    assert place is not None
    assert (source.get("bus"), source.get("type")) == ("0x01", None)
    assert (place.get("bus"), place.get("slot"), place.get("type")) == ("0x01", "0x00", "pci")


def test_files_that_libvirt_does_not_see_are_told_to_apparmor() -> None:
    """virt-aa-helper looks neither into qemu:commandline nor into qemu:override."""
    made = build_domain(guest(
        f'{GPU}rom = "vbios.rom"\n[acpi]\nbattery = true\nvbios = true\ntables = ["t.aml"]\n'
        '[integrated]\nmdev = "x"\nrom = "i.rom"\n[[disk]]\npath = "n.img"\nbus = "nvme"\n'
        '[[disk]]\npath = "v.img"\n[[network]]\nkind = "vde"\n'
    ))  # fmt: skip
    files = [rule.split('"')[1] for rule in made.hidden_files]
    assert "/home/me/virt/v.img" not in files
    for path in ("win10.vm/battery.aml", "win10.vm/vbios00.aml", "t.aml", "i.rom", "n.img"):
        assert f"/home/me/virt/{path}" in files
    assert '"/home/me/virt/n.img" rwk,' in made.hidden_files
    assert '"/var/run/vde.ctl/**" rw,' in made.hidden_files
    assert build_domain(guest()).hidden_files == ()


@given(text=profiles())
@settings(deadline=None)
def test_every_path_in_qemus_own_arguments_is_told(text: str) -> None:
    made = build_domain(guest(text))
    rules = [rule.split('"')[1] for rule in made.hidden_files]
    for argument in fromstring(made.xml).iter(f"{QEMU}arg"):
        value = (argument.get("value") or "").replace(",,", "\0")
        for path in re.findall(r"(?:file|path|sock|romfile)=(/[^,]+)", value):
            assert path.replace("\0", ",") in {rule.removesuffix("/**") for rule in rules}


def test_what_libvirt_cannot_do_is_noted() -> None:
    made = build_domain(guest('[display]\nshow = "gtk"'))
    assert any("GTK" in note for note in made.notes)
    assert '<graphics type="spice"' in made.xml
