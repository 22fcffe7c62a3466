"""Profiles to start from: every key with what it does; and the ones that come with the package."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import suppress
from importlib import resources
from typing import Any

from diag.pci import PciAddress
from passthrough.vm.key import INSTALLED, LAUNCHED, Key, keys_of
from passthrough.vm.kinds import Wrong
from passthrough.vm.profile import NAME_KEY
from passthrough.vm.sections import REPEATED, SECTIONS

_WIDTH = 96


def example_names() -> tuple[str, ...]:
    """The profiles that come with the package, by name."""
    folder = resources.files("passthrough.vm") / "profiles"
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(n.removesuffix(".toml") for n in names if n.endswith(".toml")))


def example_text(name: str) -> str:
    """A profile that comes with the package.

    Raises:
        KeyError: there is none of that name.
    """
    if name not in example_names():
        raise KeyError(name)
    place = resources.files("passthrough.vm") / "profiles" / f"{name}.toml"
    return place.read_text(encoding="utf-8")


def renamed(text: str, name: str) -> str:
    """A profile of the package under another name."""
    lines = text.splitlines(keepends=True)
    return "".join(f'name = "{name}"\n' if ln.startswith("name = ") else ln for ln in lines)


def template_text(name: str, gpu: PciAddress | None = None) -> str:
    """A profile in which every key stands as a comment, with its default or an example.

    Args:
        name: of the VM.
        gpu: the GPU that it gets, where that is known.
    """
    lines = [
        f"# The virtual machine {name}. What is commented out has the value that stands there, or,",
        "# after `e.g.`, none. Relative paths start in this file's folder.",
        "",
        f'name = "{name}"',
    ]
    for section, cls in SECTIONS.items():
        lines += ["", *_comment(section_about(cls))]
        header = f"[[{section}]]" if section in REPEATED else f"[{section}]"
        # A list's table makes an element by itself, so it is commented out with its keys.
        lines.append(f"# {header}" if section in REPEATED else header)
        for key in keys_of(cls):
            lines += _comment(f"{key.about} Allowed: {plain(key.kind.allowed)}.")
            if section == "gpu" and key.name == "address" and gpu is not None:
                lines.append(f'{key.name} = "{gpu}"')
            else:
                lines.append(f"# {_assignment(key)}")
    return "\n".join(lines) + "\n"


def section_about(cls: type[Any]) -> str:
    """What a section is for."""
    return " ".join((cls.__doc__ or "").split())


def plain(text: str) -> str:
    """Without the marks of Markdown."""
    return text.replace("`", "")


def _comment(text: str) -> list[str]:
    return [f"#   {line}" for line in textwrap.wrap(plain(text), _WIDTH)]


def default_text(key: Key) -> str:
    """A key's default as TOML writes it; nothing is "" where its kind takes that."""
    if not key.default and not isinstance(key.default, bool):
        with suppress(Wrong):
            if key.kind.read("") == key.default:
                return '""'
    return toml_value(key.default)


def _assignment(key: Key) -> str:
    default = default_text(key)
    if default in ('""', "[]") and key.example:
        return f"{key.name} = {default}  # e.g. {key.example}"
    return f"{key.name} = {default}"


def toml_value(value: object) -> str:
    """One of our values as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return '""'
    if isinstance(value, PciAddress):
        text = str(value)
        return f'"{text.removeprefix("0000:")}"'
    if isinstance(value, tuple):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, int):
        return size_text(value) if value >= 1 << 20 else str(value)
    return basic_string(str(value))


def basic_string(text: str) -> str:
    """Text in TOML's double quotes."""
    inside = "".join(
        f"\\{char}" if char in '"\\' else f"\\u{ord(char):04x}" if ord(char) < 0x20 else char
        for char in text
    )
    return f'"{inside}"'


def size_text(size: int) -> str:
    """Bytes in the largest unit that fits: ``"8G"``."""
    for unit, shift in (("T", 40), ("G", 30), ("M", 20), ("K", 10)):
        if size and size % (1 << shift) == 0:
            return f'"{size >> shift}{unit}"'
    return f'"{size}"'


def reference_lines() -> Iterator[str]:
    """Every key for the documentation, in Markdown; docs/profile.md holds these lines."""
    yield "| key | default | what it does |"
    yield "| --- | --- | --- |"
    yield f"| `name` | required | {NAME_KEY.about} Allowed: {NAME_KEY.kind.allowed}. |"
    for section, cls in SECTIONS.items():
        for key in keys_of(cls):
            default = "required" if key.required else f"`{default_text(key)}`"
            words = f"{key.about} Allowed: {key.kind.allowed}."
            if key.where in (LAUNCHED, INSTALLED):
                words += f" For `{key.where}`."
            yield f"| `{section}.{key.name}` | {default} | {words.replace('|', '/')} |"
