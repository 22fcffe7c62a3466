"""What people's pastes of lspci look like, each oddity with cards that do not exist."""

from __future__ import annotations

import pytest

from diag.pci import PciAddress, PciClass, PciId
from diag.text.device import TextDevice
from diag.text.reading import parse_text

HEAD = "01:00.0 VGA compatible controller [0300]: Acme Corp. GX1 [Turbo 9] [10de:1234] (rev a1)"
BODY = (
    "\tSubsystem: Laptop Co. GX1 [Turbo 9] [1558:0042]\n"
    "\tKernel driver in use: vfio-pci\n"
    "\tKernel modules: nouveau, nvidia_drm, nvidia\n"
)


def only(text: str) -> TextDevice:
    (device,) = parse_text(text).devices
    return device


def check(device: TextDevice) -> None:
    """The card of HEAD and BODY, whole."""
    assert str(device.address) == "0000:01:00.0"
    assert device.class_code == PciClass(0x0300)
    assert device.name.startswith("Acme Corp. GX1 [Turbo 9]")
    assert device.ids == PciId(0x10DE, 0x1234)
    assert device.revision == 0xA1
    assert device.subsystem == PciId(0x1558, 0x0042)
    assert device.driver == "vfio-pci"
    assert device.modules == ("nouveau", "nvidia_drm", "nvidia")


LINES = (HEAD + "\n" + BODY).splitlines()


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "\n" + BODY,
        (HEAD + "\n" + BODY).replace("\t", "        "),
        (HEAD + "\n" + BODY).replace("\t", "  "),
        (HEAD + "\n" + BODY).replace("\t", ""),
        (HEAD + "\n" + BODY).replace("\n", "\r\n"),
        "\n\n".join(LINES),
        "\n".join(f"> {line}" for line in LINES),
        "\n".join(f">> {line}" for line in LINES),
        "\n".join(f"# {line}" for line in LINES),
        "\n".join(f"    {line}" for line in LINES),
        "'" + (HEAD + "\n" + BODY).rstrip() + "'",
        "```\n" + HEAD + "\n" + BODY + "```\n",
        HEAD.replace("[Turbo 9]", "[**Turbo 9**]") + "\n" + BODY.replace(
            "Kernel driver in use: vfio-pci", "**Kernel driver in use: vfio-pci**"
        ),
        HEAD + "\n\n# my own remark\n\n" + BODY,
        "user@host:~$ lspci -nnk | grep -A3 VGA\n" + HEAD + "\n" + BODY + "--\n",
        HEAD.replace("[0300]: ", "[0300]: \n    ") + "\n" + BODY,
        HEAD.replace("GX1 [", "GX1\n[") + "\n" + BODY,
        HEAD.replace("compatible ", "compatible\n") + "\n" + BODY,
        HEAD + "\n" + BODY.replace("nvidia_drm, ", "nvidia_drm,\n\t"),
        HEAD + "\n" + BODY.replace("in use: vfio", "in use:\nvfio"),
        HEAD + "\n" + BODY.replace("driver in use", "driver\nin use"),
        HEAD + "\n" + BODY.replace("9] [1558", "9]\n[1558"),
        "<pre><code>" + HEAD + "<br/>\n" + BODY + "</code></pre>",
        "\x1b[1m" + HEAD + "\x1b[0m\n" + BODY,
        HEAD.replace(" ", "\u00a0", 2) + "\n" + BODY,
        HEAD.replace("(rev", "(primary) (rev") + " (prog-if 00 [VGA controller])\n" + BODY,
    ],
)  # fmt: skip
def test_damage_is_undone(text: str) -> None:
    check(only(text))


def test_what_is_not_printed_is_not_known() -> None:
    device = only("00:02.0 VGA compatible controller: Acme Corp. iGPU")
    assert device.ids is device.revision is device.driver is device.subsystem is None
    assert device.class_code is None
    assert device.display_class == PciClass(0x0300)
    assert device.modules == ()
    assert not device.dead


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("01:00.0 0300: 1002:67df (rev ef)", "1002:67df"),
        ("01:00.0 Class 0300: 1002:67df", "1002:67df"),
        ("01:00.0 VGA compatible controller [0300]: Device [1234:1111] (rev 02)", "1234:1111"),
        ("01:00.0 VGA compatible controller: Device 1234:1111 (rev 02)", "1234:1111"),
        ("02:00.0 PCI bridge [0604]: Acme Bridge 0 to bus[E:B] [1022:1484]", "1022:1484"),
        ("02:00.0 SATA controller [0106]: Acme S4[Pascal] [144d:a80c]", "144d:a80c"),
        ("02:00.0 Host bridge [0600]: Acme Fabric: Device 18h; Function 0 [1022:1460]",
         "1022:1460"),
        ("02:00.0 PCI bridge [0604]: Acme [1111:2222] Link [1022:1484]", "1022:1484"),
        ("01:00.0 3D controller: Acme Device 2f18 (rev a1)", None),
        ("01:00.0 VGA compatible controller [0300] Acme GX1 [10de:1234]", "10de:1234"),
    ],
)  # fmt: skip
def test_ids_are_the_last_in_brackets(text: str, ids: str | None) -> None:
    assert only(text).ids == (None if ids is None else PciId.parse(ids))


def test_the_revision_is_the_last_one() -> None:
    text = "00:02.0 VGA compatible controller: Acme GX1 (rev 02 silicon) (rev 01) (rev a1)"
    assert only(text).revision == 0xA1


def test_a_class_code_proves_no_ids() -> None:
    reading = parse_text(
        "00:00.0 Host bridge: Acme Root\n00:01.0 Non-Essential Instrumentation [1300]: Acme X\n"
    )
    assert reading.format == "lspci-plain"
    assert [device.ids for device in reading.devices] == [None, None]


def test_subsystems_of_a_numeric_listing() -> None:
    device = only("01:00.0 0300: 1002:67df (rev ef)\n\tSubsystem: 1da2:e366\n")
    assert device.subsystem == PciId(0x1DA2, 0xE366)
    assert parse_text("01:00.0 0300: 1002:67df\n\tSubsystem: 1da2:e366\n").format == "lspci-nk"


def test_a_device_name_is_no_class() -> None:
    device = only("05:00.0 Audio device [0403]: Acme Tone [1022:15e3]\n\tDeviceName:  VGA iRMC4\n")
    assert device.display_class is None


def test_domains() -> None:
    reading = parse_text(
        "0000:00:1f.4 SMBus [0c05]: Acme [8086:51a3]\n"
        "10000:e1:00.0 Non-Volatile memory controller [0108]: Acme [1344:5411]\n"
        "61f0:00:00.0 3D controller [0302]: Acme [10de:102d]\n"
    )
    assert [str(d.address) for d in reading.devices] == [
        "0000:00:1f.4", "10000:e1:00.0", "61f0:00:00.0",
    ]  # fmt: skip


def test_usb_lines_are_no_devices() -> None:
    reading = parse_text(HEAD + "\nBus 003 Device 004: ID 04f3:0c4f Acme Fingerprint\n")
    assert len(reading.devices) == 1


def test_the_next_device_begins_where_an_address_does() -> None:
    reading = parse_text(HEAD + "\n" + BODY + "02:00.0 Audio device [0403]: Acme [10de:0fff]\n")
    gpu, audio = reading.devices
    check(gpu)
    assert audio.driver is None


def test_several_commands_in_one_paste() -> None:
    text = (
        "$ lspci -nn -s 01:00.0\n" + HEAD + "\n"
        "$ lspci -nnk -s 01:00.1\n"
        "01:00.1 Audio device [0403]: Acme [10de:0fff]\n\tKernel driver in use: snd_hda_intel\n"
        "$ cat /proc/cmdline\n"
        "BOOT_IMAGE=/vmlinuz root=/dev/sda1 intel_iommu=on\n"
        "$ find /sys/kernel/iommu_groups -type l\n"
        "/sys/kernel/iommu_groups/3/devices/0000:01:00.0\n"
        "/sys/kernel/iommu_groups/3/devices/0000:01:00.1\n"
        "/sys/kernel/iommu_groups/4/devices/0000:02:00.0\n"
        "$ dmesg | tail\n"
        "[    9.100000] vfio-pci 0000:01:00.0: not ready 65535ms after FLR; giving up\n"
    )
    reading = parse_text(text)
    assert [part.format for part in reading.parts] == [
        "lspci-nnk", "cmdline", "iommu-find", "dmesg",
    ]  # fmt: skip
    gpu = PciAddress.parse("01:00.0")
    assert reading.gpus == (gpu,)
    # The listing without classes and the one without groups together give the answer.
    assert reading.verdict(gpu).isolation.value == "isolated"
    assert reading.log.problems[0].problems == ("not_ready_flr",)
    assert reading.command_lines.parameters[-1].value == "on"


DEAD = [
    HEAD.replace("a1", "ff"),
    HEAD + " (prog-if 00 [VGA controller])\n\t!!! Unknown header type 7f\n" + BODY,
    "01:00.0 VGA compatible controller: Acme (rev ff) (prog-if ff)\n\t!!! Unknown header type 7f\n",
    "01:00.0 VGA compatible controller: Acme\n"
    + "".join(f"{at:02x}:{' ff' * 16}\n" for at in range(0, 64, 16)),
]


@pytest.mark.parametrize("text", DEAD)
def test_a_dead_card_is_dead(text: str) -> None:
    assert only(text).dead


def test_a_driver_proves_no_life() -> None:
    device = only(HEAD.replace("a1", "ff") + "\n" + BODY)
    assert device.dead
    assert device.driver == "vfio-pci"


VERBOSE = (
    HEAD + " (prog-if 00 [VGA controller])\n"
    "\tControl: I/O- Mem- BusMaster-\n"
    "\tStatus: Cap+ 66MHz- UDF-\n"
    "\tNUMA node: 0\n"
    "\tIOMMU group: 12\n"
    "\tCapabilities: [50] Power Management version 3\n"
    "\t\tStatus: D3 NoSoftRst- PME-Enable-\n"
    "\tCapabilities: [58] Express (v2) Legacy Endpoint, MSI 00\n"
    "\t\tLnkCap:\tPort #0, Speed 16GT/s, Width x16\n"
    "\t\tLnkSta:\tSpeed 2.5GT/s (ok), Width x4 (downgraded)\n"
    "\t\tLnkSta2: Current De-emphasis Level: -6dB\n"
    "\tCapabilities: [150 v1] Advanced Error Reporting\n"
    "\t\tUESta:\tDLP- SDES- ACSViol-\n"
)


def test_the_second_status_holds_the_power_state() -> None:
    device = only(VERBOSE)
    assert device.power_state == "D3"
    assert device.link == "2.5GT/s (ok) x4 (downgraded)"
    assert (device.numa_node, device.iommu_group) == (0, 12)


def test_an_acs_violation_is_no_acs() -> None:
    assert only(VERBOSE).acs is None


def test_acs_in_words() -> None:
    device = only(
        HEAD + "\n\tCapabilities: [220 v1] Access Control Services\n"
        "\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd- EgressCtrl-\n"
        "\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir- CmpltRedir- UpstreamFwd- EgressCtrl-\n"
    )
    assert (device.acs.capability, device.acs.control) == (0x0F, 0x01)
    assert device.acs.missing == ("ReqRedir", "CmpltRedir")


@pytest.mark.parametrize(
    ("line", "link"),
    [
        ("LnkSta: Speed 2.5GT/s, Width x8, TrErr- Train-", "2.5GT/s x8"),
        ("LnkSta:\tSpeed 32GT/s (ok), Width x16 (ok)", "32GT/s (ok) x16 (ok)"),
        ("LnkSta: something else", None),
    ],
)
def test_spellings_of_the_link(line: str, link: str | None) -> None:
    assert only(f"{HEAD}\n\t\t{line}\n").link == link


def test_group_and_node_inside_the_flags() -> None:
    device = only(HEAD + "\n\tFlags: bus master, fast devsel, IRQ 36, NUMA node 1, IOMMU group 7\n")
    assert (device.numa_node, device.iommu_group) == (1, 7)


def test_a_group_beside_a_device_proves_strangers_only() -> None:
    text = HEAD + "\n\tIOMMU group: 12\n"
    gpu = PciAddress.parse("01:00.0")
    assert parse_text(text).verdict(gpu).isolation.value == "unknown"
    both = text + "02:00.0 USB controller [0c03]: Acme [1b21:1242]\n\tIOMMU group: 12\n"
    assert parse_text(both).verdict(gpu).isolation.value == "strangers"


def test_a_gap_in_a_dump_ends_it() -> None:
    rows = [f"{at:02x}: {'11 ' * 15}11" for at in range(0, 256, 16)]
    whole = only(HEAD + "\n" + "\n".join(rows))
    assert len(whole.config.data) == 256
    torn = only(HEAD + "\n" + "\n".join(rows[:4] + rows[5:]))
    assert len(torn.config.data) == 64
    masked = only(HEAD + "\n" + "\n".join(rows[:4]) + "\n40: 12 34 ?? ??\n")
    assert len(masked.config.data) == 66


def test_a_remark_is_no_answer() -> None:
    check(only(HEAD + "\n# Kernel driver in use: nouveau\n" + BODY))


def test_once_dead_is_not_forgotten() -> None:
    assert only(f"{HEAD}\n$ lspci -nn\n{HEAD.replace('a1', 'ff')}\n").dead


def test_two_descriptions_of_one_device_complete_each_other() -> None:
    device = only(HEAD + "\n$ lspci -k\n01:00.0 VGA compatible controller: Acme\n" + BODY)
    check(device)
