"""Kernel command lines, and what boot loaders' files do to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.text.cmdline import CommandLines, split_parameters
from diag.text.reading import parse_text


def found(text: str) -> CommandLines:
    lines = parse_text(text).command_lines
    assert lines is not None
    return lines


def words(text: str) -> list[str]:
    return [p.key if p.value is None else f"{p.key}={p.value}" for p in found(text).parameters]


WORDS = ["root=/dev/vda1", "rw", "intel_iommu=on,igfx_off", "iommu=pt", "acpi_osi=Windows 2015"]
LINE = 'root=/dev/vda1 rw intel_iommu=on,igfx_off iommu=pt acpi_osi="Windows 2015"'
NIX = [*WORDS[:-1], r"acpi_osi=\"Windows 2015\""]
ESCAPED = LINE.replace('"', '\\"')


@pytest.mark.parametrize(
    ("text", "variable"),
    [
        (LINE, "cmdline"),
        (f"$ cat /proc/cmdline\n{LINE}\n", "cmdline"),
        (f"title\tX\nlinux\t/vmlinuz\ninitrd\t/i.img\noptions\t{ESCAPED}\n", "options"),
        (f"options {LINE}\n", "options"),
        (f'GRUB_CMDLINE_LINUX_DEFAULT="{ESCAPED}"', "GRUB_CMDLINE_LINUX_DEFAULT"),
        (f"GRUB_CMDLINE_LINUX='{LINE}'\n", "GRUB_CMDLINE_LINUX"),
        (f'#GRUB_CMDLINE_LINUX="x"\n## GRUB_CMDLINE_LINUX="amd_iommu=on"\n'
         f'GRUB_CMDLINE_LINUX="{ESCAPED}"', "GRUB_CMDLINE_LINUX"),
        (f'GRUB_CMDLINE_LINUX="{ESCAPED.replace(" iommu", chr(10) + "iommu")}"',
         "GRUB_CMDLINE_LINUX"),
        (f'KERNEL_CMDLINE[default]+="{ESCAPED}"', "KERNEL_CMDLINE[default]"),
        (f"linux /boot/vmlinuz-6.1 {LINE}\n", "linux"),
        ("boot.kernelParams = [\n" + "".join(
            f'  "{word}"  # intel_iommu=off is what I had\n' for word in NIX) + "];",
         "boot.kernelParams"),
    ],
)  # fmt: skip
def test_one_line_in_every_file(text: str, variable: str) -> None:
    assert words(text) == WORDS
    assert {p.variable for p in found(text).parameters} == {variable}


def test_two_variables_keep_their_names() -> None:
    lines = found('GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX="quiet iommu=pt"\n')
    assert [(p.variable, p.key) for p in lines.parameters] == [
        ("GRUB_CMDLINE_LINUX_DEFAULT", "quiet"),
        ("GRUB_CMDLINE_LINUX", "quiet"),
        ("GRUB_CMDLINE_LINUX", "iommu"),
    ]


def test_values_may_hold_what_parts_other_words() -> None:
    assert (
        words("root=ZFS=rpool/ROOT/pve-1 boot=zfs quiet iommu=pt")[0] == "root=ZFS=rpool/ROOT/pve-1"
    )
    assert found("root=/dev/x video=a:off video=b:off").parameters[1:] != ()


def test_ids_for_vfio() -> None:
    text = "BOOT_IMAGE=/v vfio-pci.ids=10de:1234,10DE:0fff,10de:1234 vfio_pci.ids=1002:67df,x"
    assert found(text).vfio_ids == ("10de:1234", "10de:0fff", "10de:1234", "1002:67df")


def test_a_file_of_modules_is_no_command_line() -> None:
    lines = found("vfio\nvfio_pci\nsoftdep nouveau pre: vfio-pci\nvfio-pci.ids=10de:1234\n")
    assert lines.of_modules
    assert lines.parameters == ()
    assert "options vfio-pci ids=10de:1234" in lines.traps[0]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("BOOT_IMAGE=/v vm.ignore_msrs=1", "kvm.ignore_msrs"),
        ("BOOT_IMAGE=/v amd_iommu=on", "amd_iommu=on"),
        ("BOOT_IMAGE=/v amd_iommu=on intel_iommu=on", "together"),
        ("BOOT_IMAGE=/v pcie_acs_override=downstream", "pcie_acs_override"),
        ("BOOT_IMAGE=/v iommu=pt,", "comma"),
        ("BOOT_IMAGE=/v vfio-pci.ids=10de:1234,10de:1234", "twice"),
    ],
)
def test_traps(text: str, word: str) -> None:
    assert any(word in trap for trap in found(text).traps)


def test_a_good_line_has_no_trap() -> None:
    assert found("BOOT_IMAGE=/v intel_iommu=on iommu=pt kvm.ignore_msrs=1").traps == ()


@pytest.mark.parametrize(
    "text",
    [
        "I have set intel_iommu=on in my boot loader and then it did not work any more.",
        "# intel_iommu=on iommu=pt",
        "$ sudo grubby --update-kernel=ALL --args=intel_iommu=on",
    ],
)
def test_what_is_no_command_line(text: str) -> None:
    assert parse_text(text).command_lines is None


def test_a_quote_that_is_never_closed() -> None:
    text = 'GRUB_CMDLINE_LINUX="quiet iommu=pt\n' + "and so on\n" * 100
    assert words(text)[:2] == ["quiet", "iommu=pt"]
    assert len(words(text)) < 100


def test_a_command_over_two_lines_is_no_answer() -> None:
    text = "$ echo \\\nBOOT_IMAGE=/vmlinuz root=/dev/sda1 iommu=pt\n"
    assert parse_text(text).command_lines is None
    assert parse_text(text.replace("\\", "")).command_lines is not None


@given(st.lists(st.from_regex(r"[a-z_.]{1,9}(=[a-z0-9:,/=-]{0,9})?", fullmatch=True)))
def test_words_come_back(made: list[str]) -> None:
    assert split_parameters("  ".join(made)) == made


@given(st.text('ab="\\ \t'))
def test_any_quoting_is_read(text: str) -> None:
    joined = "".join(split_parameters(text))
    assert joined.replace(" ", "").replace("\t", "") == (
        text.replace('\\"', '"').replace('"', "").replace(" ", "").replace("\t", "")
    )
