"""Kernel command lines: /proc/cmdline, GRUB, systemd-boot, Limine, Proxmox, NixOS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diag.pci import PciId

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from diag.text.lines import Line

#: Parameters that have to do with passthrough; ``-`` and ``_`` are the same in their names.
_KEYS = frozenset({
    "acpi_osi", "acpi_rev_override", "acpi_enforce_resources", "amd_iommu", "default_hugepagesz",
    "disable_idle_d3", "disable_vga", "hugepages", "hugepagesz", "initcall_blacklist",
    "intel_iommu", "intremap", "iomem", "iommu", "iommu.passthrough", "iommu.strict", "isolcpus",
    "module_blacklist", "modprobe.blacklist", "nohz_full", "nofb", "nomodeset", "pci",
    "pcie_acs_override", "pcie_aspm", "pcie_port_pm", "rcu_nocbs", "rd.driver.blacklist",
    "rd.driver.pre", "rd.modules_load", "transparent_hugepage", "video",
})  # fmt: skip
_MODULES = frozenset({
    "amdgpu", "bbswitch", "i915", "kvm", "kvm_amd", "kvm_intel", "nouveau", "nvidia", "nvidia_drm",
    "nvidia_modeset", "radeon", "snd_hda_intel", "vfio", "vfio_iommu_type1", "vfio_pci", "xe",
})  # fmt: skip

#: Words that a line without any heading must hold to be taken for a command line.
_PLAIN = re.compile(
    r"(?:^|\s)(?:BOOT_IMAGE=|initrd=|root=(?:UUID=|PARTUUID=|LABEL=|ZFS=|/dev/|zfs:)|"
    r"(?:intel_iommu|amd_iommu|iommu|pcie_acs_override|vfio-pci\.ids)=\S)"
)
_TOKEN = re.compile(r"[\w.@:/+-]{1,80}(?:=\S{0,600})?")
_VARIABLE = re.compile(
    r"\s*(?:export\s+)?(?P<name>GRUB_CMDLINE_LINUX(?:_[A-Z]{1,20})?|KERNEL_CMDLINE(?:\[[^\]]{0,40}\])?|"
    r"LINUX_OPTIONS)\s*\+?=\s*(?P<value>.*)$"
)
_OPTIONS = re.compile(r"\s*(?P<name>options|append|APPEND|cmdline)(?:\s+|:\s*)(?P<value>\S.*)$")
_LINUX = re.compile(r"\s*(?P<name>linux(?:16|efi)?)\s+\S{0,400}\s+(?P<value>\S.*)$")
_NIX = re.compile(r"\s*boot\.kernelParams\s*=\s*(?P<value>.*)$")
_NIX_PARTS = re.compile(r'#.*$|"((?:[^"\\]|\\.)*)"|(\])')
_MODULE_LINE = re.compile(r"\s*(?:softdep|options|install|blacklist|alias)\s+[\w-]{1,60}(?:\s|$)")
_MODULE_NAME = re.compile(r"\s*(?:vfio|kvm|nvidia|nouveau|i915|amdgpu)[a-z0-9_-]{0,40}\s*$")
_IN_MODULES = re.compile(r"\s*(?P<key>[A-Za-z][\w-]{1,40}\.[\w-]{1,40})=(?P<value>\S+)\s*$")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One word of a command line.

    Attributes:
        variable: where it stands: a boot loader's variable, or ``cmdline``.
        key: what stands before the ``=``, as written.
        value: what stands behind it, without quotes; None where there is no ``=``.
    """

    variable: str
    key: str
    value: str | None

    @property
    def of_interest(self) -> bool:
        """Whether it has to do with passthrough, or was meant to."""
        key = self.key.replace("-", "_")
        module = key.partition(".")[0]
        return key in _KEYS or ("." in key and (module in _MODULES or key.endswith("ignore_msrs")))


@dataclass(frozen=True, slots=True)
class CommandLines:
    """The command lines of a text.

    Attributes:
        parameters: every word, in order, repeats kept.
        misplaced: parameters in a file of modules, where they do nothing.
        of_modules: whether the text is such a file, and no command line.
        lines: the numbers of the lines that were understood.
    """

    parameters: tuple[Parameter, ...]
    misplaced: tuple[Parameter, ...]
    of_modules: bool
    lines: frozenset[int]

    @property
    def vfio_ids(self) -> tuple[str, ...]:
        """The ids that vfio-pci shall take, repeats kept; subsystem ids and masks are left out."""
        wanted = [p for p in self.parameters if p.key.replace("-", "_") == "vfio_pci.ids"]
        return tuple(
            ":".join(part.split(":")[:2]).lower()
            for parameter in wanted
            for part in (parameter.value or "").split(",")
            if _is_id(":".join(part.split(":")[:2]))
        )

    @property
    def acs_override(self) -> str | None:
        """The value of pcie_acs_override; None where it is not there."""
        values = [p.value for p in self.parameters if p.key == "pcie_acs_override"]
        return (values[-1] or "") if values else None

    @property
    def traps(self) -> tuple[str, ...]:
        """What must not be concluded from it, in words."""
        return tuple(_traps(self))


def split_parameters(text: str) -> list[str]:
    """The words of a command line, as the kernel parts them (lib/cmdline.c, next_arg).

    A double quote keeps spaces in a word; boot loader files write it with a backslash.
    """
    words, word, quoted = [], "", False
    for piece in re.split(r'(\\?"|\s+)', text):
        if piece in ('"', '\\"'):
            quoted = not quoted
        elif piece.isspace() and not quoted:
            if word:
                words.append(word)
            word = ""
        else:
            word += piece
    return [*words, word] if word else words


def parse_command_lines(
    lines: Sequence[Line], printed: Iterable[tuple[int, str]] = ()
) -> CommandLines:
    """The command lines in a text, whatever boot loader they are written for.

    Args:
        lines: the text.
        printed: number and text of command lines that a log printed.
    """
    reader = _Reader()
    for line in lines:
        reader.read(line)
    reader.close()
    for number, text in printed:
        reader.take(number, "cmdline", text)
    of_modules = bool(reader.module_lines) and not reader.parameters
    owned = reader.lines | (reader.module_lines if of_modules else set())
    return CommandLines(
        tuple(reader.parameters),
        tuple(reader.misplaced) if of_modules else (),
        of_modules,
        frozenset(owned),
    )


class _Reader:
    #: A value whose closing quote does not come within so many lines has lost it.
    PATIENCE = 20

    def __init__(self) -> None:
        self.parameters: list[Parameter] = []
        self.misplaced: list[Parameter] = []
        self.lines: set[int] = set()
        self.module_lines: set[int] = set()
        self.name = ""
        self.quote = ""
        self.value: list[str] = []
        self.numbers: list[int] = []
        self.in_nix = False
        self.plain = False

    def take(self, number: int, name: str, text: str) -> None:
        self.lines.add(number)
        for word in split_parameters(text):
            key, equals, value = word.partition("=")
            # What a shell would put in is not in the text.
            if key and not key.startswith("$"):
                self.parameters.append(Parameter(name, key, value if equals else None))

    def close(self) -> None:
        """End a value over several lines, with or without its closing quote."""
        if self.name:
            self.take(self.numbers[0], self.name, _unescaped(" ".join(self.value), self.quote))
            self.lines.update(self.numbers)
        self.name, self.quote, self.value, self.numbers = "", "", [], []
        self.in_nix = self.plain = False

    def read(self, line: Line) -> None:
        text = line.text
        if line.command:
            self.close()
        elif line.commented:
            return
        elif self.name:
            self.more(line)
        elif self.in_nix:
            self.nix(line, text)
        elif found := _VARIABLE.match(text):
            self.close()
            self.variable(line, found["name"], found["value"].strip())
        elif nix := _NIX.match(text):
            self.close()
            self.in_nix = True
            self.nix(line, nix["value"])
        elif (found := _OPTIONS.match(text) or _LINUX.match(text)) and _parameters_in(found):
            self.close()
            self.take(line.number, found["name"], found["value"])
        elif _MODULE_LINE.match(text) or _MODULE_NAME.match(text):
            self.module_lines.add(line.number)
        elif wrong := _IN_MODULES.match(text):
            if self.module_lines:
                self.misplaced.append(Parameter("modules", wrong["key"], wrong["value"]))
                self.module_lines.add(line.number)
            else:
                self.take(line.number, "cmdline", text)
        elif _PLAIN.search(text) and _is_plain(text):
            self.take(line.number, "cmdline", text)
            self.plain = True
        elif self.plain and "=" in text and _is_plain(text):
            self.take(line.number, "cmdline", text)
        else:
            self.plain = False

    def variable(self, line: Line, name: str, value: str) -> None:
        quote = value[:1] if value[:1] in ('"', "'") else ""
        self.name, self.quote, self.numbers = name, quote, [line.number]
        self.piece(value[len(quote) :])

    def more(self, line: Line) -> None:
        if len(self.numbers) >= self.PATIENCE or _VARIABLE.match(line.text):
            self.close()
            self.read(line)
            return
        self.numbers.append(line.number)
        self.piece(line.text.strip())

    def piece(self, text: str) -> None:
        """One line of a value; the closing quote ends it."""
        end = _closing(text, self.quote) if self.quote else None
        if end is not None:
            text = text[:end]
        elif text.endswith("\\"):
            text = text[:-1]
            self.value.append(text)
            return
        self.value.append(text)
        if end is not None or not self.quote:
            self.close()

    def nix(self, line: Line, text: str) -> None:
        self.lines.add(line.number)
        for part in _NIX_PARTS.finditer(text[:1000]):
            if part[1]:
                self.take(line.number, "boot.kernelParams", part[1])
            elif part[2]:
                self.in_nix = False
                return


def _closing(text: str, quote: str) -> int | None:
    """Where the closing quote of a shell's value is; None where it is not in this line."""
    place = text.find(quote)
    while quote == '"' and place > 0 and text[place - 1] == "\\":
        place = text.find(quote, place + 1)
    return None if place < 0 else place


def _unescaped(text: str, quote: str) -> str:
    return text.replace('\\"', '"').replace("\\$", "$") if quote == '"' else text


def _parameters_in(found: re.Match[str]) -> bool:
    """Whether what stands behind a common word is parameters, and not a sentence or a module."""
    if found["name"] == "options" and _PLAIN.search(found["value"]) is None:
        return " rw" in found["value"] or " quiet" in found["value"] or "root=" in found["value"]
    return "=" in found["value"]


def _is_plain(text: str) -> bool:
    words = split_parameters(text)
    fitting = sum(1 for word in words if _TOKEN.match(word) and not word.endswith((".", ":", ",")))
    with_value = sum(1 for word in words if "=" in word)
    # A sentence about a parameter has more words without a value than any command line.
    return fitting >= len(words) - 1 and with_value * 3 >= len(words) - 2


def _is_id(text: str) -> bool:
    try:
        PciId.parse(text)
    except ValueError:
        return False
    return True


def _traps(lines: CommandLines) -> Iterable[str]:
    seen = {parameter.key.replace("-", "_"): parameter.value for parameter in lines.parameters}
    for parameter in lines.misplaced:
        module, _, name = parameter.key.partition(".")
        yield (
            f"{parameter.key}= in a file of modules has no effect: "
            f"options {module} {name}={parameter.value}"
        )
    for key in seen:
        if key.endswith("ignore_msrs") and key not in ("kvm.ignore_msrs",):
            yield f"{key} is no parameter: kvm.ignore_msrs is meant"
    if seen.get("amd_iommu") == "on":
        yield "amd_iommu=on means nothing to the kernel: an AMD IOMMU is on unless it is turned off"
    if "amd_iommu" in seen and "intel_iommu" in seen:
        yield "intel_iommu and amd_iommu together: only the one for this processor counts"
    if "pcie_acs_override" in seen:
        yield (
            "pcie_acs_override is ignored by a kernel without the ACS override patch; "
            "with it, groups are parted that the hardware does not keep apart"
        )
    if any(value and value.endswith(",") for value in seen.values()):
        yield "a value ends with a comma: something is missing behind it, or it is a typo"
    ids = lines.vfio_ids
    if len(set(ids)) < len(ids):
        yield "vfio-pci.ids names an id twice: both cards of that kind are taken anyway"
