"""A domain of libvirt's runs for as long as a session lasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthrough import programs
from passthrough.errors import Refused
from passthrough.step import Reversal, State, Step

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.machine import Machine


@dataclass(frozen=True, slots=True)
class RunDomain(Step):
    """Start a domain, and end it again.

    It is transient: libvirt forgets it at its end. Where libvirt has a definition of the same
    name and UUID, that stays as it is, and only this run is as we say (virsh(1), create).

    Attributes:
        domain: its name.
        uuid: its UUID.
        file: path that its XML is written to, in a folder that is root's.
        xml: its XML.
        patience: seconds that the guest may take to shut down.
        paused: whether its processors wait for ``virsh resume``.
    """

    kind: ClassVar[str] = "domain"
    #: Another start is another process.
    reversal: ClassVar[Reversal] = Reversal.EQUIVALENT

    domain: str
    uuid: str
    file: str
    xml: str
    patience: float = 60.0
    paused: bool = False

    @property
    def name(self) -> str:
        """What it does."""
        return f"start the domain {self.domain} through libvirt"

    def observe(self, host: Host) -> State:
        """Whether it runs: its QEMU does, also when libvirt's daemon does not."""
        del host
        from passthrough.vm.libvirt_daemon import find_domain

        return find_domain(self.uuid) is not None

    def disturbed(self, after: State, now: State) -> bool:
        """Never: that it has ended is fine."""
        del after, now
        return False

    def apply(self, machine: Machine) -> None:
        """Start it; QEMU has opened its devices then.

        Raises:
            Refused: it runs already.
            LibvirtError: libvirt refuses it; says why.
        """
        from passthrough.vm.libvirt_daemon import START_LIMIT, virsh

        if self.observe(machine.host):
            raise Refused(f"libvirt runs {self.domain} already", hint=f"virsh shutdown {self.uuid}")
        machine.put_file(self.file, self.xml)
        # What libvirt does not know it would leave out without a word.
        words = ["create", self.file, "--validate", *(["--paused"] if self.paused else [])]
        virsh(machine, *words, limit=START_LIMIT)

    def verify(self, host: Host) -> str:
        """Whether it runs."""
        return "" if self.observe(host) else "it has ended at once"

    def restore(self, machine: Machine, before: State) -> None:
        """End it: the guest is asked first."""
        import asyncio

        from passthrough.vm.libvirt_daemon import end_domain, find_domain

        pid = None if before else find_domain(self.uuid)
        running = None if pid is None else programs.hold(pid)
        if running is not None:
            try:
                asyncio.run(end_domain(machine, self.uuid, running, patience=self.patience))
            finally:
                running.close()
