"""`passthrough launch --libvirt` as a user meets it, before anything is touched."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from builders.card import card
from typer.testing import CliRunner, Result

from passthrough.cli import app

PROFILE = """
name = "win10"
[firmware]
kind = "bios"
[gpu]
address = "01:00.0"
[tpm]
kind = "emulator"
[[network]]
kind = "bridge"
interface = "br0"
"""


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def laptop(tmp_path: Path) -> Path:
    tree = card(driver="nvidia", audio_driver="snd_hda_intel", reset="flr bus")
    for program in ("qemu-system-x86_64", "virsh", "swtpm", "swtpm_setup"):
        tree.file(f"/usr/bin/{program}")
    tree.file("/sys/class/net/br0/bridge/bridge_id", "")
    return tree.file("/dev/kvm").write(tmp_path / "laptop")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "win10.toml"
    path.write_text(PROFILE, encoding="utf-8")
    return path


def steps(laptop: Path, profile: Path, *more: str) -> list[dict[str, str]]:
    words = ("launch", profile, "--user", "nobody", "--dry-run", "--root", laptop, "--json", *more)
    told = run(*words)
    assert told.exit_code == 0, told.output
    said: list[dict[str, str]] = json.loads(told.output)["steps"]
    return said


def test_the_card_is_handed_over_alike_and_only_its_guest_is_libvirts(
    laptop: Path, profile: Path
) -> None:
    ours, libvirts = steps(laptop, profile, "--qemu"), steps(laptop, profile, "--libvirt")
    assert steps(laptop, profile) == ours
    folder = next(n for n, step in enumerate(ours) if step["kind"] == "folder")
    assert libvirts[:folder] == ours[:folder]
    # libvirt gives the nodes to its own user, and starts the TPM itself.
    assert [step["kind"] for step in libvirts[folder:]] == ["folder", "domain"]
    # Who could write where root reads the domain from would be root.
    assert (ours[folder]["uid"], libvirts[folder]["uid"]) == (65534, 0)


def test_the_plan_has_the_domain_in_it(laptop: Path, profile: Path, tmp_path: Path) -> None:
    step = steps(laptop, profile, "--libvirt")[-1]
    domain = fromstring(step["xml"])
    assert (domain.findtext("name"), domain.findtext("uuid")) == ("win10", step["uuid"])
    assert {device.get("managed") for device in domain.iter("hostdev")} == {"no"}
    # A domain that libvirt forgets must not take the TPM's keys with it.
    backend = domain.find("devices/tpm/backend")
    assert backend is not None
    assert backend.get("persistent_state") == "yes"
    if shutil.which("virt-xml-validate"):
        (tmp_path / "domain.xml").write_text(step["xml"])
        argv = ["virt-xml-validate", str(tmp_path / "domain.xml"), "domain"]
        subprocess.run(argv, check=True, capture_output=True, timeout=60)
    told = run("launch", profile, "--libvirt", "--dry-run", "--root", laptop).output
    assert "start the domain win10 through libvirt" in told
    assert "would run as root" not in told


def test_without_virsh_nothing_is_begun(laptop: Path, profile: Path) -> None:
    (laptop / "usr/bin/virsh").unlink()
    told = run("launch", profile, "--libvirt", "--dry-run", "--root", laptop)
    assert (told.exit_code, "install libvirt-clients" in told.output) == (1, True)


def test_only_one_of_them_can_run_it(laptop: Path, profile: Path) -> None:
    words = ("launch", profile, "--libvirt", "--qemu", "--dry-run", "--root", laptop)
    assert run(*words).exit_code == 2


def test_a_network_of_libvirts_that_does_not_run_is_named(laptop: Path, profile: Path) -> None:
    profile.write_text(PROFILE.replace("br0", "virbr0"), encoding="utf-8")
    told = run("launch", profile, "--libvirt", "--dry-run", "--root", laptop)
    assert told.exit_code == 1
    assert "virsh net-start default" in told.output
    assert "ip link add" not in told.output
