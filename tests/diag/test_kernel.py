"""The kernel's own answers, modprobe's files, and the firmware's."""

from __future__ import annotations

import gzip

import pytest
from builders.host import HostTree

from diag.errors import Unreadable
from diag.firmware import (
    TABLES,
    battery_device,
    booted_by_uefi,
    has_table,
    read_product,
)
from diag.kernel import Kernel, ModuleState, parse_release
from diag.modprobe import Modprobe, read_modprobe

RELEASE = "6.1.0-18-amd64"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("6.1.0-18-amd64", (6, 1)),
        ("4.20.1-1-MANJARO", (4, 20)),
        ("6.8.12-4-pve", (6, 8)),
        ("7.0-rc1", (7, 0)),
        ("", None),
        ("x.y", None),
    ],
)
def test_releases(text: str, version: tuple[int, int] | None) -> None:
    assert parse_release(text) == version


def test_versions_are_compared_as_numbers() -> None:
    kernel = Kernel(HostTree().kernel("6.10.3-arch1").host())
    assert kernel.since(6, 2) is True
    assert kernel.since(6, 11) is False
    assert Kernel(HostTree().host()).since(6, 2) is None


def test_the_last_value_counts_and_dashes_are_underscores() -> None:
    tree = HostTree().cmdline('quiet vfio_pci.ids=1:2 vfio-pci.ids=3:4 a="b c" -- quiet2')
    kernel = Kernel(tree.host())
    assert kernel.values("vfio-pci.ids") == ("1:2", "3:4")
    assert kernel.value("vfio-pci.ids") == "3:4"
    assert kernel.value("a") == "b c"
    assert kernel.value("quiet") == ""
    assert kernel.value("quiet2") is None  # what stands behind -- is init's


def test_where_a_module_is() -> None:
    tree = HostTree().kernel(RELEASE).module("vfio_pci").module("kvm", builtin=True)
    kernel = Kernel(tree.host())
    assert kernel.state("vfio-pci") is ModuleState.LOADED
    assert kernel.state("kvm") is ModuleState.BUILTIN
    assert kernel.state("nouveau") is ModuleState.UNKNOWN
    tree.file(f"/lib/modules/{RELEASE}/modules.dep", "kernel/a/nouveau.ko.zst: kernel/b/drm.ko\n")
    kernel = Kernel(tree.host())
    assert kernel.state("nouveau") is ModuleState.AVAILABLE
    assert kernel.state("drm") is ModuleState.ABSENT  # named as a dependency only
    tree.refused("/proc/modules")
    with pytest.raises(Unreadable):
        Kernel(tree.host()).state("nouveau")


def test_a_configuration_that_is_not_there_says_nothing() -> None:
    assert Kernel(HostTree().kernel(RELEASE).host()).config("CONFIG_VFIO") is None
    tree = HostTree().kernel(RELEASE, {"CONFIG_VFIO": "m"})
    assert Kernel(tree.host()).config("CONFIG_VFIO") == "m"
    assert Kernel(tree.host()).config("CONFIG_IOMMUFD") == "n"


def test_a_packed_configuration() -> None:
    text = b'# CONFIG_X is not set\nCONFIG_VFIO=y\nCONFIG_NAME="a b"\n'
    tree = HostTree().kernel(RELEASE).file("/proc/config.gz", gzip.compress(text))
    kernel = Kernel(tree.host())
    assert (kernel.config("CONFIG_VFIO"), kernel.config("CONFIG_X")) == ("y", "n")
    assert kernel.config("CONFIG_NAME") == "a b"
    damaged = HostTree().kernel(RELEASE).file("/proc/config.gz", b"\x1f\x8b damaged")
    assert Kernel(damaged.host()).config("CONFIG_VFIO") == "n"


def test_modprobe_reads_the_first_of_files_with_one_name() -> None:
    tree = HostTree().file("/usr/lib/modprobe.d/a.conf", "blacklist nouveau")
    tree.link("/lib", "usr/lib")
    assert len(read_modprobe(tree.host())) == 1  # /lib is /usr/lib
    tree.file("/etc/modprobe.d/a.conf", "# nothing").file("/etc/modprobe.d/b", "blacklist nvidia")
    assert read_modprobe(tree.host()) == ()


def test_modprobes_commands() -> None:
    text = (
        "options vfio-pci ids=10de:1c20 \\\n  disable_vga=1\n"
        "softdep nvidia pre: vfio-pci drm post: x\n"
        "softdep nouveau post: vfio-pci\n"
        "install nvidia /bin/false  # never\n"
        "install nouveau /sbin/modprobe --ignore-install nouveau\n"
    )
    host = HostTree().file("/etc/modprobe.d/v.conf", text).host()
    modprobe = Modprobe(read_modprobe(host))
    ids, flag = modprobe.option("vfio_pci", "ids"), modprobe.option("vfio_pci", "disable-vga")
    assert ids is not None
    assert ids[0] == "10de:1c20"
    assert flag is not None
    assert flag[0] == "1"
    assert modprobe.before("nvidia", "vfio_pci") is not None
    assert modprobe.before("nouveau", "vfio_pci") is None
    assert modprobe.stopped("nvidia") is not None
    assert modprobe.stopped("nouveau") is None


ALIASES = """\
# Aliases extracted from modules themselves.
alias pci:v000010DEd*sv*sd*bc03sc[08]0i00* nvidia
alias pci:v000010DEd*sv*sd*bc03sc02i00* nvidia
alias pci:v000010DEd*sv*sd*bc03sc*i* nouveau
alias pci:v000010DEd00001C20sv*sd*bc*sc*i* one-card
alias pci:v000010DEd00001C21sv*sd*bc*sc*i* another_card
alias pci:v*d*sv*sd*bc04sc03i00* snd_hda_intel
alias pci:v*d*sv*sd*bc03sc00i00* any_vga
alias usb:v10DEp*d*dc*dsc*dp*ic*isc*ip*in* usb_thing
"""


@pytest.mark.parametrize(
    ("modalias", "modules"),
    [
        (
            "pci:v000010DEd00001C20sv00001558sd000065A1bc03sc00i00",
            ("any_vga", "nouveau", "nvidia", "one_card"),
        ),
        ("pci:v000010DEd00001C8Csv00001025sd0000118Bbc03sc02i00", ("nouveau", "nvidia")),
        ("pci:v000010DEd000010F1sv00001558sd000065A1bc04sc03i00", ("snd_hda_intel",)),
        ("pci:v00001AF4d00001050sv00001AF4sd00001100bc0Csc03i00", ()),
        ("usb:v10DEp0001d0000dc00dsc00dp00ic00isc00ip00in00", ()),
        ("", ()),
    ],
)
def test_the_modules_that_would_drive_a_device(modalias: str, modules: tuple[str, ...]) -> None:
    tree = HostTree().kernel("6.1.0-18-amd64")
    assert Kernel(tree.host()).fitting(modalias) is None
    tree.file("/usr/lib/modules/6.1.0-18-amd64/modules.alias", ALIASES)
    assert Kernel(tree.host()).fitting(modalias) == modules


# Firmware.


def table(signature: bytes, code: bytes) -> bytes:
    """A header of 36 bytes (ACPI 6.4, table 5.4) with something behind it."""
    return signature + (36 + len(code)).to_bytes(4, "little") + bytes(28) + code


#: Device (BAT0) { Name (_HID, EisaId ("PNP0C0A")) }, as iasl makes it.
BATTERY = b"\x5b\x82\x0fBAT0\x08_HID\x0c\x41\xd0\x0c\x0a"


def test_hints_in_the_tables() -> None:
    tree = HostTree().file(f"{TABLES}/DSDT", table(b"DSDT", BATTERY))
    host = tree.file(f"{TABLES}/SSDT1", table(b"SSDT", b"")).host()
    assert battery_device(host) == f"{TABLES}/DSDT"
    assert has_table(host, "SSDT") is True
    assert has_table(host, "DMAR") is False
    assert has_table(HostTree().host(), "DMAR") is None
    with pytest.raises(Unreadable) as caught:
        battery_device(tree.refused(f"{TABLES}/DSDT").host())
    assert caught.value.needs_root


def test_the_product_without_its_serial_numbers() -> None:
    folder = "/sys/class/dmi/id"
    tree = (
        HostTree().file(f"{folder}/product_name", "P65_67HPX").file(f"{folder}/chassis_type", "10")
    )
    tree.refused(f"{folder}/product_serial").refused(f"{folder}/board_name", 5)
    product = read_product(tree.host())
    assert (product.name, product.board, product.portable) == ("P65_67HPX", None, True)
    assert read_product(HostTree().host()).portable is None


def test_uefi_or_not() -> None:
    assert booted_by_uefi(HostTree().folder("/sys/firmware/efi").host())
    assert not booted_by_uefi(HostTree().host())
