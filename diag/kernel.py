"""The running kernel: its release, command line, modules and configuration."""

from __future__ import annotations

import re
from enum import Enum
from fnmatch import fnmatchcase
from functools import cached_property

from diag.host import Host
from diag.text.cmdline import Parameter, split_parameters

RELEASE = "/proc/sys/kernel/osrelease"
COMMAND_LINE = "/proc/cmdline"
LOADED = "/proc/modules"

#: A module's file in modules.dep and modules.builtin, packed or not.
_MODULE_FILE = re.compile(rb"^(?:[^\s:]*/)?([^/\s:]+)\.ko(?:\.\w+)?(?::|$)", re.MULTILINE)
#: Which devices of PCI a module is for: a pattern with these ids, or for any (modules.alias).
_PCI_ALIAS = r"^alias (pci:v(?:{vendor}|\*)d(?:{device}|\*)\S*) (\S+)$"
_OPTION = re.compile(r"^(CONFIG_\w+)=(.*)$", re.MULTILINE)


class ModuleState(Enum):
    """Where a driver is."""

    BUILTIN = "part of the kernel"
    LOADED = "loaded"
    AVAILABLE = "there, not loaded"
    ABSENT = "not there"
    #: The kernel's list of modules is not to be found, as in a container.
    UNKNOWN = "unknown"


def parse_release(text: str) -> tuple[int, int] | None:
    """Version and patch level of a release like ``6.1.0-18-amd64``; None if it has none."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})", text)
    return (int(found[1]), int(found[2])) if found else None


def module_name(name: str) -> str:
    """A module's name as the kernel lists it: ``vfio-pci`` and ``vfio_pci`` are the same."""
    return name.replace("-", "_")


class Kernel:
    """The kernel of a host, each part read when it is first asked for.

    Every part raises `Unreadable` where it is there and cannot be read.

    Args:
        host: the machine.
    """

    def __init__(self, host: Host) -> None:
        self.host = host

    def __repr__(self) -> str:
        return f"<Kernel of {self.host.note}>"

    @cached_property
    def release(self) -> str | None:
        """What ``uname -r`` prints; None where procfs is not there."""
        return self.host.text(RELEASE) or None

    @cached_property
    def version(self) -> tuple[int, int] | None:
        """Version and patch level, like (6, 1)."""
        return parse_release(self.release or "")

    def since(self, major: int, minor: int) -> bool | None:
        """Whether it is at least as new; None where the release is not known."""
        return None if self.version is None else self.version >= (major, minor)

    # The command line.

    @cached_property
    def command_line(self) -> str | None:
        """As the kernel got it from the boot loader."""
        return self.host.text(COMMAND_LINE)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its words, those for init (behind ``--``) left out."""
        words = split_parameters(self.command_line or "")
        end = words.index("--") if "--" in words else len(words)
        pairs = (word.partition("=") for word in words[:end])
        return tuple(Parameter("cmdline", k, v if e else None) for k, e, v in pairs if k)

    def values(self, key: str) -> tuple[str, ...]:
        """All values of a parameter, in order; an empty one where it has none.

        ``-`` and ``_`` are the same in a name (kernel/params.c, parameq).
        """
        wanted = module_name(key)
        return tuple(p.value or "" for p in self.parameters if module_name(p.key) == wanted)

    def value(self, key: str) -> str | None:
        """The last value of a parameter, which is what counts for most; None if it is not there."""
        return next(reversed(self.values(key)), None)

    # Modules.

    @cached_property
    def loaded(self) -> frozenset[str]:
        """Names of the modules that are loaded; those that are part of the kernel are not."""
        lines = (self.host.text(LOADED) or "").splitlines()
        return frozenset(line.split(maxsplit=1)[0] for line in lines if line.strip())

    @cached_property
    def builtin(self) -> frozenset[str]:
        """Names of the modules that are part of the kernel."""
        return self._listed("modules.builtin") or frozenset()

    @cached_property
    def available(self) -> frozenset[str] | None:
        """Names of the modules that modprobe finds; None where the kernel's folder is missing."""
        return self._listed("modules.dep")

    def fitting(self, modalias: str) -> tuple[str, ...] | None:
        """Names of the modules that would drive a PCI function of this ``modalias``, sorted.

        None where the kernel's list is missing. lspci calls them kernel modules; that modprobe.d
        forbids some is not looked at.
        """
        if self._aliases is None:
            return None
        ids = re.match(r"pci:v([0-9A-F]{8})d([0-9A-F]{8})", modalias)
        if ids is None:
            return ()
        pattern = _PCI_ALIAS.format(vendor=ids[1], device=ids[2]).encode()
        found = re.findall(pattern, self._aliases, re.MULTILINE)
        pairs = ((alias.decode("utf-8", "replace"), module) for alias, module in found)
        fit = {m.decode("utf-8", "replace") for alias, m in pairs if fnmatchcase(modalias, alias)}
        return tuple(sorted(map(module_name, fit)))

    @cached_property
    def _aliases(self) -> bytes | None:
        return self._read("modules.alias")

    def _listed(self, name: str) -> frozenset[str] | None:
        data = self._read(name)
        if data is None:
            return None
        found = _MODULE_FILE.findall(data)
        return frozenset(module_name(file.decode("utf-8", "replace")) for file in found)

    def _read(self, name: str) -> bytes | None:
        """A file among the kernel's modules."""
        for folder in (
            "/lib/modules",
            "/usr/lib/modules",
            "/run/booted-system/kernel-modules/lib/modules",
        ):
            data = self.host.data(f"{folder}/{self.release}/{name}") if self.release else None
            if data is not None:
                return data
        return None

    def state(self, module: str) -> ModuleState:
        """Where a module is."""
        name = module_name(module)
        if name in self.loaded:
            return ModuleState.LOADED
        if name in self.builtin:
            return ModuleState.BUILTIN
        if self.host.exists(f"/sys/module/{name}"):
            # A module has initstate; what is part of the kernel has not.
            loaded = self.host.exists(f"/sys/module/{name}/initstate")
            return ModuleState.LOADED if loaded else ModuleState.BUILTIN
        if self.available is None:
            return ModuleState.UNKNOWN
        return ModuleState.AVAILABLE if name in self.available else ModuleState.ABSENT

    def runs(self, module: str) -> bool:
        """Whether a module is in the running kernel, loaded or built in."""
        return self.state(module) in (ModuleState.LOADED, ModuleState.BUILTIN)

    def module_parameter(self, module: str, name: str) -> str | None:
        """A parameter as it is now; None if the module is not there or does not show it."""
        return self.host.text(f"/sys/module/{module_name(module)}/parameters/{name}")

    # Configuration.

    @cached_property
    def config_path(self) -> str | None:
        """The file with its configuration; None if there is none."""
        paths = [f"/boot/config-{self.release}", f"/lib/modules/{self.release}/config"]
        found = (path for path in [*paths, "/proc/config.gz"] if self.host.exists(path))
        return next(found, None)

    @cached_property
    def _config(self) -> dict[str, str] | None:
        path = self.config_path
        data = None if path is None else self.host.data(path)
        if path is None or data is None:
            return None
        if path.endswith(".gz"):
            data = _unpacked(data)
        return {
            key: value.strip('"') for key, value in _OPTION.findall(data.decode("utf-8", "replace"))
        }

    def config(self, option: str) -> str | None:
        """An option's value: ``y``, ``m``, text, or ``n`` where it is not set.

        None where no configuration is to be found, which says nothing about the kernel.
        """
        return None if self._config is None else self._config.get(option, "n")


def _unpacked(data: bytes) -> bytes:
    """A gzip file's content, at most 16 MiB of it; nothing of a damaged one."""
    import zlib

    try:
        return zlib.decompressobj(wbits=31).decompress(data, 16 << 20)
    except zlib.error:
        return b""
