"""Resets a card by the gentlest way that helps, and says which one did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diag.inventory import Inventory
from passthrough.card import pick_card
from passthrough.engine import Watch, execute
from passthrough.errors import Refused, StepFailed
from passthrough.reset import Form, forms_for, intended_driver, plan_reset

if TYPE_CHECKING:
    from diag.pci import PciAddress
    from passthrough.journal import Places
    from passthrough.machine import Machine
    from passthrough.plan import Plan

COLD_BOOT = "a cold boot is needed: shut down, take the mains and the battery away for a minute"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way that was tried.

    Attributes:
        plan: what was done.
        form: which way.
        why_not: why it did not help; empty for the one that did.
    """

    plan: Plan
    form: Form
    why_not: str = ""


def plan_escalation(
    inventory: Inventory, address: PciAddress | None, driver: str | None = None
) -> tuple[Plan, ...]:
    """The plans that would be tried, in their order, as the machine is now.

    Raises:
        NoGpu, Refused, Unreadable: as `passthrough.card.pick_card`.
    """
    gpu = pick_card(inventory, address)
    forms = forms_for(inventory, gpu)
    return tuple(plan_reset(inventory, gpu, form=form, driver=driver) for form in forms)


def escalate(
    machine: Machine,
    address: PciAddress | None = None,
    *,
    driver: str | None = None,
    places: Places | None = None,
    watch: Callable[[Plan], Watch] = lambda _plan: lambda _point, _step: None,
) -> tuple[Attempt, ...]:
    """Try one form after the other until the card is as it should be.

    Each plan ends with a look at the card, so that one which goes through has helped. One that
    fails is taken back before the next is made, from the machine as it is then.

    Returns:
        what was tried; the last one helped.

    Raises:
        Refused: something stands in the way of every form; nothing was touched.
        StepFailed: none helped, or the host could not be put back in between.
    """
    inventory = Inventory(machine.host)
    gpu = pick_card(inventory, address)
    wanted = intended_driver(inventory, gpu) if driver is None else driver
    tried: list[Attempt] = []
    failed: StepFailed | None = None
    for form in forms_for(inventory, gpu):
        now = Inventory(machine.host)
        plan = plan_reset(now, pick_card(now, gpu.address), form=form, driver=wanted)
        if plan.blockers:
            tried.append(Attempt(plan, form, plan.blockers[0].title))
            continue
        try:
            execute(plan, machine, places, watch=watch(plan))
        except StepFailed as error:
            failed = error
            tried.append(Attempt(plan, form, error.message))
            if not error.restored:
                break
        else:
            return (*tried, Attempt(plan, form))
    if failed is None:
        blocker = tried[0].plan.blockers[0]
        raise Refused(blocker.title, hint=blocker.remedy)
    said = "; ".join(f"{attempt.form.value}: {attempt.why_not}" for attempt in tried)
    if not failed.restored:
        # The next way would begin from a host that nobody knows.
        raise StepFailed(
            failed.step, f"the reset was broken off ({said})", restored=False,
            hint=f"{failed.hint}; then run it again; if that does not help, {COLD_BOOT}"
            .removeprefix("; "), passed=failed.passed,
        )  # fmt: skip
    raise StepFailed(
        failed.step, f"no reset has helped ({said}); {COLD_BOOT}", restored=True,
        passed=failed.passed,
    )  # fmt: skip
