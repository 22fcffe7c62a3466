"""swtpm: a TPM for a guest, as a program of the guest's owner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from passthrough.programs import FIRST_SOCKET
from passthrough.steps import RunProgram
from romkit.finding import Finding, Severity, Verdict

if TYPE_CHECKING:
    from diag.host import Host
    from passthrough.step import Step


def tpm_steps(
    name: str, socket: str, state: str, uid: int, logs: str, *, version: str = "2.0"
) -> tuple[Step, ...]:
    """A TPM that listens before QEMU is started, and ends with it.

    Args:
        name: of the guest.
        socket: where QEMU speaks to it.
        state: folder with what it remembers; it must be there, and be the user's.
        uid: number of the user.
        logs: start of the path of its log.
        version: ``2.0`` or ``1.2``.
    """
    argv = [
        "swtpm", "socket", "--tpmstate", f"dir={state},mode=0600",
        "--ctrl", f"type=unixio,fd={FIRST_SOCKET}", "--terminate",
    ]  # fmt: skip
    argv += ["--tpm2"] if version == "2.0" else []
    return (RunProgram(f"{name}/swtpm", tuple(argv), uid, f"{logs}-swtpm.log", (socket,)),)


def tpm_findings(host: Host) -> Iterator[Finding]:
    """What is missing for `tpm_steps`."""
    if not host.has_program("swtpm"):
        yield Finding(
            "tpm.swtpm", Verdict.FAIL, Severity.BLOCKER, "tpm", "swtpm is not installed", (),
            "install swtpm, or take the TPM out of the profile", "",
        )  # fmt: skip
