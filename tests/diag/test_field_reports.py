"""The machines of the two field reports, and the listings that they print.

The Clevo P650HP6 report prints its IOMMU groups and what lspci says of the GPU. The same lines are
given to the readers of pasted text, and the same machine is built from them for the rest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders.host import HostTree
from builders.laptop import AUDIO, GPU, INTEGRATED, PORT, acer, clevo, laptop
from builders.pci_tree import ENDPOINT, FULL, ROOT, add
from builders.rom import image, npde, pcir
from typer.testing import CliRunner

from diag.cli import app
from romkit.cli import app as romkit_app

#: Group, address, class, ids, revision, and names of class and device, as the report lists them;
#: the order is the shell's, which sorts the numbers as words.
LISTED = """0 00:00.0 0600 8086:5910 05 Host bridge|Xeon E3-1200 v6 Host Bridge
10 6e:00.0 0280 8086:24fd 78 Network controller|Wireless 8265 / 8275
1 00:01.0 0604 8086:1901 05 PCI bridge|Xeon E3-1200 v5 PCIe Controller (x16)
1 01:00.0 0300 10de:1c20 ff VGA compatible controller|GP106M [GeForce GTX 1060 Mobile]
2 00:14.0 0c03 8086:a12f 31 USB controller|100 Series USB 3.0 xHCI Controller
2 00:14.2 1180 8086:a131 31 Signal processing controller|100 Series Thermal Subsystem
3 00:16.0 0780 8086:a13a 31 Communication controller|100 Series MEI Controller #1
4 00:17.0 0106 8086:a103 31 SATA controller|HM170/QM170 SATA Controller [AHCI Mode]
5 00:1c.0 0604 8086:a110 f1 PCI bridge|100 Series PCI Express Root Port #1
6 00:1c.4 0604 8086:a114 f1 PCI bridge|100 Series PCI Express Root Port #5
7 00:1c.6 0604 8086:a116 f1 PCI bridge|100 Series PCI Express Root Port #7
8 00:1f.0 0601 8086:a152 31 ISA bridge|HM175 LPC/eSPI Controller
8 00:1f.2 0580 8086:a121 31 Memory controller|100 Series Power Management Controller
8 00:1f.3 0403 8086:a171 31 Audio device|CM238 HD Audio Controller
8 00:1f.4 0c05 8086:a123 31 SMBus|100 Series SMBus
9 6d:00.0 ff00 10ec:5287 01 Unassigned class|RTL8411B PCI Express Card Reader
9 6d:00.1 0200 10ec:8168 12 Ethernet controller|RTL8111/8168/8411 Gigabit Ethernet Controller"""
VENDORS = {"8086": "Intel Corporation", "10de": "NVIDIA Corporation", "10ec": "Realtek"}
ROWS = [(*row.split(" ", 5)[:5], *row.split(" ", 5)[5].split("|")) for row in LISTED.splitlines()]
#: What the report's script prints for them.
GROUPS = "\n".join(
    f"IOMMU Group {group} {place} {kind} [{code}]: {VENDORS[ids[:4]]} {name} [{ids}] (rev {rev})"
    for group, place, code, ids, rev, kind, name in ROWS
)
#: What lspci says of the GPU once it is awake.
LSPCI = """$ lspci -nnk -s 01:00.0
01:00.0 VGA compatible controller [0300]: NVIDIA Corporation GP106M [10de:1c20] (rev a1)
  Subsystem: CLEVO/KAPOK Computer GP106M [1558:65a1]
  Kernel driver in use: vfio-pci
  Kernel modules: nouveau, nvidia_drm, nvidia
"""
MEMBERS = {
    group: [f"0000:{row[1]}" for row in ROWS if row[0] == group] for group in {r[0] for r in ROWS}
}
#: The port above what is not on the root bus; for 6d and 6e by the order of the buses.
BEHIND = {"01:00.0": "00:01.0", "6d:00.0": "00:1c.4", "6d:00.1": "00:1c.4", "6e:00.0": "00:1c.6"}
IDS = "/usr/share/misc/pci.ids"


def diag(*args: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["--color", "never", *map(str, args)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def answer(*args: str | Path) -> Any:
    return json.loads(diag(*args, "--json")[1])


def pasted(folder: Path, text: str) -> Path:
    path = folder / "paste.txt"
    path.write_text(text)
    return path


def findings(record: dict[str, Any], check: str) -> list[dict[str, Any]]:
    return [finding for finding in record["findings"] if finding["check"] == check]


def one(record: dict[str, Any], check: str) -> dict[str, Any]:
    (finding,) = findings(record, check)
    return finding


def listed_machine() -> HostTree:
    """The machine that the report lists: its groups, and config as such functions have it."""
    tree = HostTree().kernel("4.20.1-1-MANJARO").cmdline("intel_iommu=on,igfx_off iommu=pt")
    blocks = []
    for vendor, name in VENDORS.items():
        rows = [row for row in ROWS if row[3].startswith(vendor)]
        blocks += [f"{vendor}  {name}", *(f"\t{row[3][5:]}  {row[6]}" for row in rows)]
    tree.file(IDS, "\n".join([*blocks, "C ff  Unassigned class", ""]))
    slots = [row[1].partition(".")[0] for row in ROWS]
    for group, place, code, ids, *_ in sorted(ROWS, key=lambda row: row[1]):
        above = BEHIND.get(place)
        port = code == "0604"
        # The ports of the 100 series have ACS, at a place of their own; the x16 port has none.
        acs = (FULL, FULL) if port and ids != "8086:1901" else None
        add(
            tree, f"0000:{place}", ROOT if port else ENDPOINT, f"0000:{above}" if above else None,
            group=int(group), class_code=int(code, 16), vendor=int(ids[:4], 16),
            device=int(ids[5:], 16), acs=acs, driver="pcieport" if port else None,
            several=slots.count(place.partition(".")[0]) > 1,
        )  # fmt: skip
        if acs:
            path = f"{tree.place(f'0000:{place}')}/config"
            data = bytearray(tree.files[path])
            data[0x150 + 8] = FULL
            tree.file(path, bytes(data))
        tree.file(f"{tree.place(f'0000:{place}')}/revision", f"0x{_revision(place)}")
    return tree


def _revision(place: str) -> str:
    """The kernel has read it when the GPU was awake."""
    return "a1" if place == "01:00.0" else next(row[4] for row in ROWS if row[1] == place)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return listed_machine().write(tmp_path / "listed")


# The listings, as pasted text.


def test_the_listing_of_the_clevo_is_read(tmp_path: Path) -> None:
    """Eleven groups, which the script printed in the order 0, 10, 1, 2."""
    record = answer("read", pasted(tmp_path, f"$ ./list-iommu-groups.sh\n{GROUPS}\n"))
    assert {str(n): m for n, m in record["groups"].items()} == MEMBERS
    assert len(record["groups"]) == 11
    assert list(map(int, record["groups"])) == sorted(map(int, record["groups"]))
    (gpu,) = record["gpus"]
    assert (gpu["address"], gpu["ids"], gpu["group"], gpu["verdict"]) == (
        GPU, "10de:1c20", 1, "isolated",
    )  # fmt: skip


def test_rev_ff_in_the_listing_is_a_card_without_power(tmp_path: Path) -> None:
    path = pasted(tmp_path, GROUPS)
    for command in ("read", "lspci"):
        status, out = diag(command, path)
        assert status == 0
        assert f"No answer from {GPU}: revision ff" in out
    assert answer("read", path)["dead"] == [GPU]


def test_lspci_of_the_clevos_gpu_is_read(tmp_path: Path) -> None:
    path = pasted(tmp_path, LSPCI)
    (gpu,) = answer("read", path)["gpus"]
    assert (gpu["address"], gpu["ids"], gpu["subsystem"]) == (GPU, "10de:1c20", "1558:65a1")
    assert gpu["driver"] == "vfio-pci"
    _, out = diag("read", path)
    assert "could be driven by: nouveau, nvidia_drm, nvidia" in out
    assert "No answer" not in out
    (row,) = [line.split() for line in diag("lspci", path)[1].splitlines() if GPU in line]
    assert {"10de:1c20", "a1", "vfio-pci"} <= set(row)


def test_header_type_7f_means_switched_off(tmp_path: Path) -> None:
    path = pasted(tmp_path, f"{LSPCI.splitlines()[1]}\n\t!!! Unknown header type 7f\n")
    for command in ("read", "lspci"):
        assert f"No answer from {GPU}" in diag(command, path)[1]
    status, out = diag("explain", "!!!", "Unknown", "header", "type", "7f")
    assert status == 0
    assert "no power" in out


# The groups of the machine itself.


def test_the_clevos_gpu_is_alone_with_its_port(listed: Path) -> None:
    record = answer("iommu", "--root", listed)
    assert record["groups"] == MEMBERS
    (gpu,) = record["gpus"]
    assert (gpu["group"], gpu["verdict"], gpu["strangers"]) == (1, "isolated", [])
    assert gpu["bridges_in_group"] == [PORT]
    # A port of the host's own is no hindrance.
    assert (gpu["viable"], one(record, "iommu.viable")["verdict"]) == (True, "pass")
    assert [way["kind"] for way in gpu["ways"]] == ["nothing needed"]


def test_the_list_of_the_clevo_is_the_reports(listed: Path) -> None:
    """Each line of the report's script but one: sysfs remembers the revision of a card without
    power, and lspci reads ff."""
    status, out = diag("iommu", "--root", listed, "--format", "list")
    wanted = GROUPS.replace("(rev ff)", "(rev a1)").splitlines()
    assert status == 0
    assert sorted(out.splitlines()) == sorted(wanted)


def test_the_way_from_the_clevos_gpu_to_the_root_is_shown_with_acs(listed: Path) -> None:
    (gpu,) = answer("iommu", "--root", listed)["gpus"]
    port, card = gpu["path"]
    assert (port["address"], port["type"], port["separates"]) == (PORT, "root port", False)
    assert set(port["missing"]) == {"SrcValid", "ReqRedir", "CmpltRedir", "UpstreamFwd"}
    assert card["address"] == GPU
    # The ports of the chipset keep apart what is below them.
    (reader,) = answer("iommu", "6d:00.0", "--root", listed)["gpus"]
    assert [hop["separates"] for hop in reader["path"]] == [True, False]
    tree = diag("iommu", "--root", listed, "--format", "tree")[1]
    assert "no ACS capability" in tree


@pytest.mark.parametrize(("place", "group"), [("00:1f.3", "8"), ("6d:00.0", "9"), ("00:14.0", "2")])
def test_functions_of_one_slot_without_acs_are_one_group(
    listed: Path, place: str, group: str
) -> None:
    (found,) = answer("iommu", place, "--root", listed)["gpus"]
    (merge,) = found["merges"]
    assert (merge["reason"], merge["members"]) == ("functions", MEMBERS[group])
    assert (found["unexplained"], found["measured"]) == ([], True)


def test_the_groups_of_the_clevo_are_those_that_acs_lets_expect(listed: Path) -> None:
    assert one(answer("iommu", "--root", listed), "iommu.groups-true")["verdict"] == "pass"


def test_a_gpu_that_answers_with_ones_says_so_in_its_path(tmp_path: Path) -> None:
    (gpu,) = answer("iommu", GPU, "--root", clevo().write(tmp_path))["gpus"]
    assert "ones only: no power, or gone" in gpu["path"][-1]["text"]


# The cards.


@pytest.mark.parametrize(
    ("tree", "ids", "name"),
    [
        (acer, "10de:1c8d", "GP107M [GeForce GTX 1050 Mobile]"),
        (clevo, "10de:1c20", "GP106M [GeForce GTX 1060 Mobile]"),
    ],
    ids=["acer", "clevo"],
)
def test_the_card_is_named(tmp_path: Path, tree: Any, ids: str, name: str) -> None:
    root = tree().file(IDS, f"10de  NVIDIA Corporation\n\t{ids[5:]}  {name}\n").write(tmp_path)
    record = answer("gpu", "--root", root)
    assert (record["ids"], record["name"]) == (ids, f"NVIDIA Corporation {name}")
    assert not record["integrated"]


def test_the_clevos_integrated_gpu_could_be_shared_and_it_is_said_what_is_missing(
    tmp_path: Path,
) -> None:
    cpu = (
        "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 158\n"
        "model name\t: Intel(R) Core(TM) i7-7700HQ CPU @ 2.80GHz\nflags\t\t: vmx\n"
    )
    root = clevo().file("/proc/cpuinfo", cpu).write(tmp_path)
    record = answer("gpu", "00:02.0", "--root", root)
    assert (record["address"], record["integrated"], record["driver"]) == (INTEGRATED, True, "i915")
    found = one(answer("report", "--root", root), "host.gvt-g")
    # Model 158 is Coffee Lake too.
    assert "possible on Kaby, Coffee, Whiskey or Amber Lake" in found["title"]
    # enable_gvt=1 is on its command line; the module is what is not loaded.
    assert "modprobe kvmgt" in found["remedy"]
    assert "enable_gvt" not in found["remedy"]


def test_the_clevo_has_no_audio_function(tmp_path: Path) -> None:
    """Its listing has no 01:00.1. Before Linux 5.4 nvhda brought such a function out."""
    record = answer("gpu", "--root", clevo().write(tmp_path))
    found = one(record, "audio.there")
    assert (record["siblings"], found["verdict"]) == ([], "fail")
    assert "hides it" in found["title"]
    assert "nvhda" in found["remedy"]


def test_outputs_are_listed_where_a_display_driver_has_the_gpu(tmp_path: Path) -> None:
    """One HDMI and two mini DisplayPorts, and the panel on the integrated GPU."""
    tree = laptop(driver="nouveau")
    tree.folder(f"{tree.place(GPU)}/drm/card1").folder(f"{tree.place(GPU)}/drm/renderD129")
    tree.folder(f"{tree.place(INTEGRATED)}/drm/card0")
    lit = {"card0-eDP-1": "connected", "card1-HDMI-A-1": "connected"}
    for name in ("card0-eDP-1", "card1-DP-1", "card1-DP-2", "card1-HDMI-A-1"):
        tree.file(f"/sys/class/drm/{name}/status", lit.get(name, "disconnected"))
    root = tree.folder("/sys/class/drm/card1").write(tmp_path / "nouveau")
    assert answer("gpu", "--root", root)["connectors"] == [
        {"name": "DP-1", "status": "disconnected"},
        {"name": "DP-2", "status": "disconnected"},
        {"name": "HDMI-A-1", "status": "connected"},
    ]
    assert "HDMI-A-1 connected" in diag("gpu", "--root", root)[1]
    assert "eDP-1 connected" in diag("gpu", "00:02.0", "--root", root)[1]
    # vfio-pci lists no outputs: that is not the same as having none.
    bound = laptop().write(tmp_path / "vfio")
    assert answer("gpu", "--root", bound)["connectors"] is None
    assert "only a display driver lists them" in diag("gpu", "--root", bound)[1]


@pytest.mark.parametrize(("product", "mode"), [(0x65A1, "mshybrid"), (0x65A2, "discrete")])
def test_the_clevos_mode_is_told_by_its_subsystem_id(
    tmp_path: Path, product: int, mode: str
) -> None:
    root = laptop(subsystem=(0x1558, product)).write(tmp_path)
    record = answer("report", "--root", root)
    assert one(record, "gpu.mux")["verdict"] == {"mshybrid": "pass", "discrete": "fail"}[mode]
    ids = next(f for f in findings(record, "gpu.subsystem") if f["subject"] == GPU)
    assert f"1558:{product:04x}" in ids["title"]
    assert f"{mode} mode" in ids["title"]


def test_a_rom_is_compared_with_the_subsystem_of_the_mode(tmp_path: Path) -> None:
    rom = tmp_path / "a.rom"
    structure = pcir(device=0x1C20, revision=3, length=0x1C)
    rom.write_bytes(
        image(structure, extension=npde(blocks=2, last=0x80, subsystem=(0x1558, 0x65A1)))
    )
    for board, verdict in (("1558:65a1", "pass"), ("1558:65a2", "fail")):
        words = ["verify", str(rom), "--device", "10de:1c20", "--subsystem", board, "--json"]
        done = CliRunner().invoke(romkit_app, words)
        found = {f["check"]: f["verdict"] for f in json.loads(done.stdout)}
        assert found["device.subsystem"] == verdict


def test_modules_that_would_take_the_clevos_card(tmp_path: Path) -> None:
    for name in ("nouveau", "nvidia"):
        root = laptop().module(name).write(tmp_path / name)
        found = one(answer("report", "--root", root), "driver.takers")
        assert (found["verdict"], name in found["title"]) == ("fail", True)


def test_the_acers_audio_function_needs_a_reset_first(tmp_path: Path) -> None:
    """Driver, power and reset of the function whose neglect made the report's host stutter."""
    record = answer("report", "--root", acer().write(tmp_path))
    driver, reset = one(record, "audio.driver"), one(record, "audio.reset")
    assert (driver["subject"], driver["verdict"]) == (AUDIO, "fail")
    assert "snd_hda_intel" in driver["title"]
    assert (reset["subject"], reset["verdict"]) == (AUDIO, "fail")
    assert f"{AUDIO}/remove" in reset["remedy"]
    assert one(record, "power.audio")["subject"] == AUDIO


# The hosts.


def test_remedies_are_debians_on_the_acer(tmp_path: Path) -> None:
    tree = acer().os_release("debian", version="10").file("/etc/default/grub", "")
    tree.cmdline("quiet intel_iommu=on vm.ignore_msrs=1")
    record = answer("report", "--root", tree.folder("/usr/bin").write(tmp_path))
    assert "apt install qemu-system-x86" in one(record, "qemu.installed")["remedy"]
    (port,) = findings(record, "power.port")
    assert "GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub" in port["remedy"]
    assert "update-grub" in port["remedy"]


def test_remedies_are_manjaros_on_the_clevo(tmp_path: Path) -> None:
    tree = clevo().os_release("manjaro", "arch", "18.0.2").folder("/usr/bin")
    tree.file("/boot/loader/entries/manjaro-4.20-x86_64.conf", "options root=/dev/x rw vm.a=1")
    line = tree.files["/proc/cmdline"].decode().replace("kvm.ignore_msrs", "vm.ignore_msrs")
    record = answer("report", "--root", tree.cmdline(line).write(tmp_path))
    assert "pacman -S qemu-desktop" in one(record, "qemu.installed")["remedy"]
    typo = one(record, "kernel.parameters")
    assert "/boot/loader/entries/" in typo["remedy"]
    assert "GRUB" not in typo["remedy"]


def test_rules_follow_the_kernels_of_the_reports(tmp_path: Path) -> None:
    """4.20 knows no power_state, leaves audio hidden, has vfio_virqfd; 5.8 needs no nvhda."""
    modules = "MODULES=(vfio vfio_iommu_type1 vfio_pci vfio_virqfd)"
    old = clevo().os_release("manjaro", "arch").file("/etc/mkinitcpio.conf", modules)
    record = answer("report", "--root", old.write(tmp_path / "4.20"))
    assert one(record, "kernel.vfio-virqfd")["verdict"] == "pass"
    assert one(record, "power.state")["title"] == "bbswitch has switched it off"
    assert one(record, "power.port")["verdict"] == "pass"
    record = answer("report", "--root", acer().write(tmp_path / "5.8"))
    obsolete = one(record, "power.nvhda-obsolete")
    assert (obsolete["verdict"], "since 5.4" in obsolete["title"]) == ("fail", True)
    today = clevo().kernel("6.12.1-1-MANJARO").file("/etc/mkinitcpio.conf", modules)
    record = answer("report", "--root", today.write(tmp_path / "6.12"))
    assert one(record, "kernel.vfio-virqfd")["verdict"] == "fail"
    assert "nvhda" not in one(record, "audio.there")["remedy"]


def test_the_driver_that_shows_the_hosts_screen_is_named(tmp_path: Path) -> None:
    found = one(answer("report", "--root", clevo().write(tmp_path)), "gpu.mux")
    assert f"{INTEGRATED}, driver i915" in found["title"]


def test_a_display_server_on_the_wrong_gpu_is_named_with_its_manager(tmp_path: Path) -> None:
    tree = laptop(driver="nouveau")
    tree.folder(f"{tree.place(GPU)}/drm/card1")
    tree.link("/etc/systemd/system/display-manager.service",
              "/usr/lib/systemd/system/lightdm.service")  # fmt: skip
    tree.file("/proc/700/comm", "Xorg").folder("/proc/700/fd")
    tree.links["/proc/700/fd/9"] = "/dev/dri/card1"
    tree.folder("/dev/dri").file("/dev/dri/card1")
    found = one(answer("report", "--root", tree.write(tmp_path)), "driver.holders")
    assert (found["verdict"], found["title"]) == ("fail", "open in Xorg (700)")
    assert "BusID" in found["remedy"]
    assert "systemctl stop lightdm" in found["remedy"]


def test_a_program_that_is_no_display_server_is_only_to_be_ended() -> None:
    from diag.checks.drivers import holders

    tree = laptop().link("/etc/systemd/system/display-manager.service", "/x/lightdm.service")
    tree.file("/proc/7/comm", "nvtop").folder("/proc/7/fd")
    tree.links["/proc/7/fd/3"] = "/dev/vfio/devices/vfio0"
    tree.folder(f"{tree.place(GPU)}/vfio-dev/vfio0").folder(f"{tree.place(GPU)}/drm/card1")
    tree.links["/proc/7/fd/4"] = "/dev/dri/card1"
    (found,) = tree.ask(holders)
    assert found.remedy == "end these programs first"


# Explanations.


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ("VIDEO TDR FAILURE", ["GVT-g", "its author is not sure"]),
        ("NVIDIA control panel has no choice of the GPU",
         ["not known to work", "One author says", "muxless"]),
        ("blank screen when lightdm starts",
         ["mshybrid", "systemd.unit=multi-user.target", "BusID"]),
        ("HDMI output did not work", ["RDP", "muxless", "romkit verify"]),
        ("no picture in the guest", ["RDP", "Looking Glass"]),
    ],
)  # fmt: skip
def test_what_the_reports_saw_is_explained(seen: str, words: list[str]) -> None:
    status, out = diag("explain", *seen.split())
    text = " ".join(out.split())
    assert status == 0
    assert [word for word in words if word not in text] == []


def test_code_43_of_a_muxless_card_leads_to_the_tables(tmp_path: Path) -> None:
    """What the guides and the issue that the reports link to have found: _ROM and a battery."""
    record = answer("explain", "code43", "--root", acer().write(tmp_path))
    found = one(record, "gpu.muxless")
    assert found["verdict"] == "fail"
    assert "romkit acpi makes the tables with _ROM and a battery" in found["remedy"]
    assert {"rom.source", "gpu.subsystem", "code43.started"} <= {
        finding["check"] for finding in record["findings"]
    }


def test_code_43_on_a_clevo_is_gone_through(tmp_path: Path) -> None:
    """A Linux guest works and Windows shows Code 43: which driver, which ids, what to try."""
    line = tmp_path / "boot.sh"
    line.write_text("qemu-system-x86_64 -M q35 -cpu host -device vfio-pci,host=01:00.0\n")
    root = laptop().write(tmp_path / "root")
    record = answer("explain", "code43", "--root", root, "--vm", line)
    driver = one(record, "code43.guest-driver")
    # 415.25, which the report used, is older than the first that starts in any VM.
    assert (driver["verdict"], "465.89" in driver["remedy"]) == ("unknown", True)
    assert "live Linux" in driver["remedy"]
    assert one(record, "vm.hidden")["verdict"] == "fail"
    # A GTX 1060 has drivers that do, so that nothing but the driver has to change.
    assert one(record, "driver.vm-rule")["verdict"] == "pass"
    assert "1558:65a1" in one(record, "gpu.subsystem")["title"]
    assert "changes with it" in one(record, "gpu.subsystem")["title"]
    # What the guest's installer offers goes by these ids.
    assert "installer offers" in " ".join(diag("explain", "gpu.subsystem")[1].split())
