"""Taking names and numbers of people and machines out of texts.

The same value becomes the same placeholder wherever it stands and however it is spelled, so that
what was equal stays equal. A placeholder is left as it is: redacting twice changes nothing more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum


class Secret(Enum):
    """What is redacted, in the words of the manifest."""

    UUID = "UUID"
    MAC = "MAC address"
    SERIAL = "serial number"
    HOST = "host name"
    USER = "user name"
    PASSWORD = "password"


_HEX = "[0-9A-Fa-f]"
_UUID = re.compile(rf"(?<![0-9A-Za-z]){_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}(?![0-9A-Za-z])")
#: The short ids of FAT and NTFS file systems, and those of MBR partitions.
_SHORT_ID = re.compile(rf"((?:PART)?UUID=\"?)({_HEX}[0-9A-Fa-f-]{{3,31}})(?![0-9A-Za-z-])")
#: By-uuid links are followed by either kind.
_BY_UUID = re.compile(rf"(/by-(?:part)?uuid/)({_HEX}[0-9A-Fa-f-]{{3,31}})(?![0-9A-Za-z-])")
_MAC = re.compile(
    rf"(?<![0-9A-Za-z])(?<!{_HEX}{{2}}[:-]){_HEX}{{2}}([:-]){_HEX}{{2}}(?:\1{_HEX}{{2}}){{4}}(?![0-9A-Za-z]|[:-]{_HEX})"
)
_DOTTED_MAC = re.compile(rf"(?<![0-9A-Za-z.]){_HEX}{{4}}\.{_HEX}{{4}}\.{_HEX}{{4}}(?![0-9A-Za-z.])")
_BY_ID = re.compile(r"(/dev/(?:disk|input|serial)/by-id/)([^\s,;:\"']+)")
_SERIAL = re.compile(
    r"(\bi?serial(?:[ _-]?(?:no|num|number))?\.?\s?[:=]\s?\"?)([0-9A-Za-z][0-9A-Za-z._-]{3,})",
    re.IGNORECASE,
)
#: The GUID of a FireWire controller: its vendor and its serial number.
_FIREWIRE = re.compile(rf"(\bGUID[ :=]{{1,3}}(?:0x)?)({_HEX}{{16}})(?![0-9A-Za-z])")
#: A MAC without separators, where a name before it says what it is.
_BARE_MAC = re.compile(
    rf"((?:mac|hwaddr|bssid)[a-z_]*[\"']?[ \t]*[=:][ \t]*[\"']?)({_HEX}{{12}})(?![0-9A-Za-z])",
    re.IGNORECASE,
)
_GRUB_HASH = re.compile(r"(grub\.pbkdf2\.)([0-9A-Za-z.]+)")
#: Names of a module's parameters whose values are numbers of one machine or person.
_SECRET_PARAMETER = re.compile(r"serial|passw|passphrase|secret|psk|(?:^|_)(?:key|mac)$", re.I)
_PASSWORD = re.compile(
    r"((?:password|passwd|passphrase|secret|psk)\w*[ \t]*[=:][ \t]*)"
    r"(\"[^\"\n]*\"|'[^'\n]*'|[^\s\"']+)",
    re.IGNORECASE,
)
_HOME = re.compile(r"((?:/home|/media|/run/media)/)([^/\s:;,\"'*]+)")

#: GUIDs that mean the same on every machine: of EFI variables that diag reads.
_PUBLIC_GUIDS = frozenset(
    (
        "8be4df61-93ca-11d2-aa0d-00e098032b8c",  # UEFI's own variables
        "d719b2cb-3d3a-4596-a3bc-dad00e67656f",  # UEFI's signature databases
        "605dab50-e046-4300-abb6-3dd810dd8b23",  # shim
        "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",  # systemd-boot
    )
)
_PLACEHOLDER_UUID = "00000000-0000-0000-0000-"
_PLACEHOLDER_MAC = "02000000"

#: Names that name nobody, or whose loss would make a text another one.
_ORDINARY_NAMES = (
    "admin alias amd arch auto blacklist debian default dev domain fedora gpu group guest host "
    "install intel kvm libvirt linux linuxmint localhost localdomain lan local manjaro module "
    "modules nixos none nvidia off opensuse option options path pci pop pop-os popos qemu quiet "
    "root softdep splash suse system test true false ubuntu unlimited user usr vfio vm hard soft "
    "memlock boot disk on yes no x86 amd64 iommu"
)
_ORDINARY = frozenset(_ORDINARY_NAMES.split())
_SHORTEST_NAME = 3

#: What firmware writes where there is no serial number.
_NO_SERIAL = re.compile(
    r"(?:to be filled|default|not |none|n/a|unknown|system|chassis|base ?board|o\.?e\.?m|x+|0+|-+)",
    re.IGNORECASE,
)
_SHORTEST_SERIAL = 5


@dataclass
class Redactor:
    """Redacts, and remembers what became what.

    Attributes:
        hosts: names of the machine.
        users: names of people.
        serials: serial numbers that are known.
        macs: MAC addresses that are known, in any spelling.
        counts: how often each kind was redacted.
    """

    hosts: Iterable[str] = ()
    users: Iterable[str] = ()
    serials: Iterable[str] = ()
    macs: Iterable[str] = ()
    counts: Counter[Secret] = field(default_factory=Counter)
    _known: dict[tuple[Secret, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        macs = {_digits(mac) for mac in self.macs} - {"0" * 12, "f" * 12}
        pairs = ([mac[at : at + 2] for at in range(0, 12, 2)] for mac in macs if len(mac) == 12)
        spelled = "|".join(sorted("[:.-]?".join(pair) for pair in pairs))
        words = rf"(?<![0-9A-Za-z])(?:{spelled})(?![0-9A-Za-z])"
        self._known_macs = re.compile(words, re.IGNORECASE) if spelled else None
        serials = {serial.strip() for serial in self.serials}
        self._serials = _words(
            s for s in serials if len(s) >= _SHORTEST_SERIAL and not _NO_SERIAL.match(s)
        )
        self._hosts = _words(_telling(self.hosts), re.IGNORECASE)
        self._users = _words(_telling(self.users))

    def plain(self, text: str) -> str:
        """Attributes of the kernel: only what cannot be anything else is taken for a secret."""
        text = _UUID.sub(lambda m: self._uuid(m[0]), text)
        text = _MAC.sub(lambda m: self._mac(m[0]), text)
        text = _DOTTED_MAC.sub(lambda m: self._mac(m[0]), text)
        text = _BARE_MAC.sub(lambda m: m[1] + self._mac(m[2]), text)
        if self._known_macs:
            text = self._known_macs.sub(lambda m: self._mac(m[0]), text)
        if self._serials:
            text = self._serials.sub(lambda m: self._named(Secret.SERIAL, "serial", m[0]), text)
        return text

    def text(self, text: str) -> str:
        """Settings, logs and what programs say."""
        text = _PASSWORD.sub(lambda m: m[1] + self._password(m[2]), text)
        text = _GRUB_HASH.sub(lambda m: m[1] + self._password(m[2]), text)
        text = _FIREWIRE.sub(lambda m: m[1] + self._named(Secret.SERIAL, "serial", m[2]), text)
        text = _BY_ID.sub(lambda m: m[1] + self._named(Secret.SERIAL, "serial", m[2]), text)
        text = _SERIAL.sub(lambda m: m[1] + self._named(Secret.SERIAL, "serial", m[2]), text)
        for pattern in (_SHORT_ID, _BY_UUID):
            text = pattern.sub(lambda m: m[1] + self._uuid(m[2]), text)
        text = _HOME.sub(lambda m: m[1] + self._named(Secret.USER, "user", m[2]), text)
        if self._users:
            text = self._users.sub(lambda m: self._named(Secret.USER, "user", m[0]), text)
        if self._hosts:
            text = self._hosts.sub(lambda m: self._named(Secret.HOST, "host", m[0].lower()), text)
        return self.plain(text)

    def name(self, path: str, target: str | None = None) -> str:
        """A path, or where the link at `path` leads. The kernel's own file systems name nobody."""
        text = path if target is None else target
        kernels = path.startswith(("/sys/", "/proc/", "/dev/"))
        return self.plain(text) if kernels else self.text(text)

    def node(self, name: str) -> str:
        """The machine's own name where it stands for sure, however ordinary it is."""
        return self._named(Secret.HOST, "host", name.lower())

    def holds_secret(self, data: bytes) -> bool:
        """Whether bytes hold a number that is known to be a secret, or look as if they did."""
        text = data.decode("latin-1")
        known = [pattern for pattern in (self._serials, self._known_macs) if pattern]
        return any(pattern.search(text) for pattern in known)

    def _number(self, kind: Secret, value: str) -> int:
        self.counts[kind] += 1
        of_kind = sum(1 for other, _ in self._known if other is kind)
        return self._known.setdefault((kind, value), of_kind + 1)

    def _uuid(self, value: str) -> str:
        lower = value.lower()
        if lower in _PUBLIC_GUIDS or lower.startswith(_PLACEHOLDER_UUID) or not lower.strip("0-"):
            return value
        digits = _digits(value)
        if len(digits) < 32 and digits.startswith("0" * max(1, len(digits) - 3)):
            return value  # a short placeholder
        return _filled(value, f"{self._number(Secret.UUID, digits):x}")

    def _mac(self, value: str) -> str:
        digits = _digits(value)
        if digits.startswith(_PLACEHOLDER_MAC) or digits in ("0" * 12, "f" * 12):
            return value
        return _filled(value, f"{_PLACEHOLDER_MAC}{self._number(Secret.MAC, digits):04x}")

    def _named(self, kind: Secret, word: str, value: str) -> str:
        if re.fullmatch(rf"{word}-\d+", value):
            return value
        return f"{word}-{self._number(kind, value)}"

    def _password(self, value: str) -> str:
        if value.strip("\"'") in ("", "redacted"):
            return value
        self.counts[Secret.PASSWORD] += 1
        return "redacted"


def _digits(value: str) -> str:
    return re.sub("[^0-9a-f]", "", value.lower())


def _filled(shape: str, digits: str) -> str:
    """`digits`, with zeros before them, in place of the hex digits of `shape`."""
    places = sum(character.isalnum() for character in shape)
    left = iter(digits.rjust(places, "0")[-places:])
    return "".join(next(left) if character.isalnum() else character for character in shape)


def _telling(names: Iterable[str]) -> set[str]:
    return {n for n in names if len(n) >= _SHORTEST_NAME and n.lower() not in _ORDINARY}


def _words(values: Iterable[str], flags: int = 0) -> re.Pattern[str] | None:
    """A pattern of whole words, the longest first; None without any."""
    kept = sorted(set(values), key=lambda value: (-len(value), value))
    if not kept:
        return None
    either = "|".join(re.escape(value) for value in kept)
    return re.compile(rf"(?<![0-9A-Za-z])(?:{either})(?![0-9A-Za-z])", flags)


def is_secret_parameter(path: str) -> bool:
    """Whether a module's parameter says in its name that it holds a secret."""
    folder, _, name = path.rpartition("/")
    return folder.endswith("/parameters") and _SECRET_PARAMETER.search(name) is not None


def counted(counts: Mapping[Secret, int]) -> dict[str, int]:
    """The counts in the words of the manifest."""
    return {kind.value: counts[kind] for kind in Secret if counts.get(kind)}
