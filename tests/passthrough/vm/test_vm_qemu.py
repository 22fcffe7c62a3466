"""QEMU's command line: the installed QEMU takes what is built, and what it would not take is told.

Hardware that is not here has stand-ins: a network card for what vfio-pci passes, emulation for
KVM. Everything else is given to QEMU as it is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from builders.stand_in import QEMU, start
from builders.vm import CODE, FOLDER, argv, guest, lines, machine, profile
from builders.vm_choices import profiles
from hypothesis import Phase, given, settings

from diag.host import Host
from diag.inventory import Inventory
from passthrough.vm.capabilities import Capabilities
from passthrough.vm.guest import read_guest
from passthrough.vm.machine_sections import HYPERV, HYPERV_NEEDS
from passthrough.vm.problem import BadProfile
from passthrough.vm.qemu import build_argv

needs_qemu = pytest.mark.skipif(
    shutil.which(QEMU) is None or not Path(CODE).exists(), reason="needs qemu-system-x86 and ovmf"
)
GPU = '[gpu]\naddress = "01:00.0"\n'


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that a profile at random names."""
    folder = tmp_path_factory.mktemp("vm")
    for name in ("disk, 0.img", "disk, 1.img", "disk, 2.img", "cd.iso", "a, b.iso"):
        (folder / name).write_bytes(bytes(1 << 20))
    (folder / "vbios.rom").write_bytes(machine().files[f"{FOLDER}/vbios.rom"])
    from romkit.acpi.battery import battery_table

    (folder / "extra.aml").write_bytes(bytes(battery_table()))
    return folder


@needs_qemu
@settings(max_examples=20, deadline=None, phases=[Phase.generate])  # 0.5 s each
@given(text=profiles())
def test_qemu_takes_any_valid_profile(here: Path, text: str) -> None:
    live = Host()
    known = Capabilities(live)
    tree = machine()
    tree.files |= {f"{here}/vbios.rom": (here / "vbios.rom").read_bytes()}
    for path in live.names("/usr/share/qemu/firmware") or ():
        tree.file(f"/usr/share/qemu/firmware/{path}",
                  live.text(f"/usr/share/qemu/firmware/{path}") or "")  # fmt: skip
    for name in Path(CODE).parent.iterdir():
        tree.file(str(name), b"there")
    tree.without("/usr/share/qemu/firmware/40-secure.json")
    tree.without("/usr/share/qemu/firmware/60-plain.json")
    wanted = profile(text, folder=str(here))
    for install in (False, bool(wanted.media.install)):
        made = read_guest(wanted, Inventory(tree.host()), install=install, capabilities=known)
        line = build_argv(made, known)
        for file in line.files:
            Path(file.path).parent.mkdir(exist_ok=True)
            data = Path(file.copy_of).read_bytes() if file.data is None else file.data
            Path(file.path).write_bytes(data)
        ended = start(line, here)
        assert ended.returncode == 0, f"{line}\n{ended.stderr}"
        tree_of_devices = ended.stdout
        for drive in made.drives:
            assert f'id "{drive.name}"' in tree_of_devices
        for name, passed in (("gpu", made.gpu), ("gpu-audio", made.audio)):
            if passed is not None:
                _, found, rest = tree_of_devices.partition(f', id "{name}"')
                assert found
                addr = re.search(r"addr = ([0-9a-f]+)\.([0-7])", rest)
                assert addr is not None
                wanted_place = (passed.place.device, passed.place.function)
                assert (int(addr[1], 16), int(addr[2])) == wanted_place


@needs_qemu
@pytest.mark.parametrize("feature", HYPERV)
def test_qemu_knows_every_hyperv_feature(feature: str) -> None:
    needs = "".join(f'"{need}", ' for need in HYPERV_NEEDS.get(feature, ()))
    line = argv(f'[hide]\nhyperv = [{needs}"{feature}"]')
    (cpu,) = [value for name, value in line.options if name == "-cpu"]
    words = [QEMU, "-machine", "q35,accel=tcg", "-cpu", cpu.replace("host", "max", 1), "-S",
             "-nodefaults", "-display", "none", "-monitor", "stdio"]  # fmt: skip
    ended = subprocess.run(
        words, input="quit\n", capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0 or "kernel doesn't allow" in ended.stderr, ended.stderr


@needs_qemu
@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        ('[machine]\ntype = "pc-q35-99.9"', "machine.type", "has no pc-q35-99.9"),
        ('[cpu]\nmodel = "Skylake-Clinet"', "cpu.model", "has no Skylake-Clinet"),
        ('[qemu]\narguments = ["-device", "virtio-rgn-pci"]', "qemu.arguments", "no device"),
        ('[qemu]\narguments = ["-device", "virtio-rng-pci,perid=3"]', "qemu.arguments",
         "no property perid"),
    ],
)  # fmt: skip
def test_what_this_qemu_lacks_is_our_error(text: str, key: str, why: str) -> None:
    with pytest.raises(BadProfile) as caught:
        build_argv(guest(text), Capabilities(Host()))
    (problem,) = caught.value.problems
    assert (problem.key, problem.line) == (key, 3)
    assert why in problem.why
    assert problem.allowed


def old_qemu(*properties: str, displays: str = "none\n") -> Host:
    """A QEMU 5.0 whose vfio-pci has only some properties; it was asked on another machine."""
    said = "".join(f"  {name}=<str>\n" for name in ("host", "addr", *properties))
    tree = machine().said(QEMU, "--version", out="QEMU emulator version 5.0.0")
    tree.said(QEMU, "-device", "vfio-pci,help", out=f"vfio-pci options:\n{said}")
    return tree.said(QEMU, "-display", "help", out=f"Available:\n{displays}").host()


def test_a_property_that_an_old_qemu_lacks_is_told_with_its_key() -> None:
    made = guest(f'{GPU}\nsubsystem = "1025:118b"\naudio = "none"')
    with pytest.raises(BadProfile) as caught:
        build_argv(made, Capabilities(old_qemu("multifunction")))
    keys = [(problem.key, problem.line) for problem in caught.value.problems]
    assert keys == [("gpu.subsystem", 5)] * 2
    assert "QEMU 5.0.0's vfio-pci has no property x-pci-sub-vendor-id" in caught.value.message
    build_argv(made, Capabilities(old_qemu("x-pci-sub-vendor-id", "x-pci-sub-device-id")))


def test_a_display_that_qemu_was_built_without() -> None:
    made = guest('[display]\nshow = "gtk"')
    with pytest.raises(BadProfile, match=r"win10.toml:3: display.show: QEMU 5.0.0 has no gtk"):
        build_argv(made, Capabilities(old_qemu()))
    build_argv(made, Capabilities(old_qemu(displays="gtk\nnone\n")))


def test_a_capture_that_asked_nothing_refuses_nothing() -> None:
    assert build_argv(guest(GPU), Capabilities(machine().host())).argv


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ("pcie-root-port,id=x,chassis=1,slot=1", "chassis and slot 1 1 is pcie.1's already"),
        ("e1000e,bus=pcie.0,addr=0x1", "place pcie.0 01.0 is pcie.1's already"),
        ("e1000e,id=gpu", "-device id gpu is gpu's already"),
        ("vfio-pci,host=01:00.0", "host device 01:00.0 is gpu's already"),
    ],
)
def test_what_stands_there_twice_is_our_error(extra: str, why: str) -> None:
    with pytest.raises(BadProfile, match=r"win10.toml:5: qemu.arguments") as caught:
        argv(f'{GPU}[qemu]\narguments = ["-device", "{extra}"]')
    assert [problem.why for problem in caught.value.problems] == [why]


def test_too_many_devices_are_our_error() -> None:
    text = "".join(f'[[disk]]\npath = "{number}"\n' for number in range(30))
    with pytest.raises(BadProfile, match="no slot left"):
        guest(text)


def test_commas_of_paths_are_doubled() -> None:
    made = lines('[[disk]]\npath = "a,b.img"')
    assert any(value.endswith("file=/home/me/virt/a,,b.img") for value in made)


def test_the_drives_keep_their_ports_without_the_installation_medium() -> None:
    """Windows does not start when its SATA disk has moved."""
    text = '[[disk]]\npath = "a"\nbus = "sata"\n[media]\ninstall = "i.iso"\ndrivers = ["d.iso"]'
    before, after = lines(text, install=True), lines(text)
    assert set(after) < set(before)
    assert [row for row in before if row not in after] == [
        "-drive id=drive-install,if=none,media=cdrom,format=raw,readonly=on,"
        "file=/home/me/virt/i.iso",
        "-device ide-cd,id=install,bus=ide.2,drive=drive-install,bootindex=0",
    ]


def test_an_installation_needs_its_medium() -> None:
    with pytest.raises(BadProfile, match=r"media\.install: there is nothing to install from"):
        guest(install=True)


def test_the_audio_functions_own_subsystem_is_told() -> None:
    from builders.laptop import laptop

    made = argv(GPU, tree=laptop(audio={"subsystem": (0x1558, 0x1234)}))
    (sound,) = [value for _, value in made.options if "id=gpu-audio" in value]
    assert "x-pci-sub-vendor-id=0x1558,x-pci-sub-device-id=0x1234" in sound


def test_a_card_without_audio_is_alone_in_its_slot() -> None:
    """As on the Clevo, whose group has no audio function."""
    from builders.laptop import clevo

    made = guest(GPU, tree=clevo())
    assert made.audio is None
    assert made.gpu is not None
    assert not made.gpu.multifunction
    assert any("no audio function 0000:01:00.1" in note for note in made.notes)


def test_a_gpu_that_is_not_here_is_noted() -> None:
    made = guest('[gpu]\naddress = "05:00.0"')
    assert "0000:05:00.0 is not on a made-up machine" in made.notes
