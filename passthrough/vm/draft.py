"""A profile in the making, from a description that somebody else wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from passthrough.vm.key import keys_of
from passthrough.vm.parse import parse_profile
from passthrough.vm.problem import BadProfile
from passthrough.vm.profile import Profile
from passthrough.vm.sections import REPEATED, SECTIONS
from passthrough.vm.template import basic_string, default_text


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a description.

    Attributes:
        text: the profile as TOML.
        profile: the same, read.
        left: what of the description is not in it, and why.
    """

    text: str
    profile: Profile
    left: tuple[str, ...]


@dataclass(slots=True)
class Draft:
    """Sections with what is known of them; `finish` makes a profile of them."""

    name: str = "imported"
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def set(self, section: str, key: str, value: Any) -> None:
        """A key's value, as TOML has it; None sets nothing."""
        if value is not None:
            self.values.setdefault(section, {})[key] = value

    def add(self, section: str, key: str, value: str) -> None:
        """One more element of a key that is a list."""
        found: list[str] = self.values.setdefault(section, {}).setdefault(key, [])
        if value not in found:
            found.append(value)

    def element(self, section: str, **values: Any) -> None:
        """One more table of a section that stands several times."""
        known = {name: value for name, value in values.items() if value not in (None, "")}
        self.lists.setdefault(section, []).append(known)

    def leave(self, what: str, why: str = "") -> None:
        """Something that has no place in a profile."""
        self.left.append(f"{what}: {why}" if why else what)

    def finish(self, folder: str) -> Imported:
        """The profile. What it would not take is left out and said.

        Args:
            folder: where the profile will be, absolute.
        """
        while True:
            text = self._text()
            try:
                profile = parse_profile(text, file=f"{self.name}.toml", folder=folder)
            except BadProfile as bad:
                for problem in bad.problems:
                    allowed = f" (allowed: {problem.allowed})" if problem.allowed else ""
                    self.leave(problem.key, problem.why + allowed)
                # Backwards: elements keep their numbers while later ones go; each goes once.
                for key in dict.fromkeys(_going(p.key) for p in reversed(bad.problems)):
                    self._drop(key)
                continue
            return Imported(text, profile, tuple(dict.fromkeys(self.left)))

    def _drop(self, going: str) -> None:
        """Leave out what a problem is about."""
        section, _, key = going.partition(".")
        head, _, number = section.partition("[")
        if head == "name":
            self.name = "imported"
        elif number:
            place = int(number.rstrip("]")) - 1
            # Its whole section may have gone with another one.
            del self.lists.get(head, [])[place : place + 1]
        elif self.values.get(head, {}).pop(key, None) is None:
            # The rule is about a default: what was said in its section is what breaks it.
            self._drop_section(head)

    def _drop_section(self, head: str) -> None:
        if self.values.pop(head, None) is None and self.lists.pop(head, None) is None:
            self.values.clear()
            self.lists.clear()

    def _text(self) -> str:
        lines = [f"name = {basic_string(self.name)}"]
        for section, cls in SECTIONS.items():
            tables = self.lists.get(section, []) if section in REPEATED else []
            if section in self.values and section not in REPEATED:
                tables = [self.values[section]]
            defaults = {key.name: default_text(key) for key in keys_of(cls)}
            for table in tables:
                pairs = [(name, _toml(value)) for name, value in table.items()]
                pairs = [(name, value) for name, value in pairs if value != defaults.get(name)]
                if pairs or section in REPEATED:
                    header = f"[[{section}]]" if section in REPEATED else f"[{section}]"
                    lines += ["", header, *(f"{name} = {value}" for name, value in pairs)]
        return "\n".join(lines) + "\n"


def _going(key: str) -> str:
    """What goes when a key is wrong: ``disk[2]`` of ``disk[2].path``, ``cpu.pin`` of
    ``cpu.pin[1]``."""
    section, _, name = key.partition(".")
    return section if "[" in section else f"{section}.{name.partition('[')[0]}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return basic_string(str(value))
