"""Plans that let the host's driver set a GPU up anew, on machines that do not exist."""

from __future__ import annotations

import pytest
from builders.card import GPU, card, machine_of, program
from builders.host import HostTree

from passthrough.refresh import plan_refresh
from passthrough.steps import (
    Bind,
    Confirm,
    LoadModule,
    PersistenceOff,
    RefreshGpu,
    SetAttribute,
    Unbind,
    UnloadModule,
)  # fmt: skip

OVERRIDE = f"/sys/bus/pci/devices/{GPU}/driver_override"


def with_program(tree: HostTree) -> HostTree:
    return tree.file("/usr/bin/nvidia-smi")


def test_the_driver_is_loaded_for_it_and_the_card_goes_back_to_who_had_it() -> None:
    tree = with_program(card(driver="vfio-pci"))
    tree.file(f"{tree.place(GPU)}/driver_override", "vfio-pci")
    made = plan_refresh(*machine_of(tree))
    assert made.blockers == ()
    wanted = [
        SetAttribute(OVERRIDE, "nvidia"),
        Unbind(GPU),
        LoadModule("nvidia"),
        Bind(GPU, "nvidia"),
        PersistenceOff(GPU),
        RefreshGpu(GPU),
        UnloadModule("nvidia"),
        SetAttribute(OVERRIDE, "vfio-pci"),
        Bind(GPU, "vfio-pci"),
        Confirm(GPU, 1, "vfio-pci"),
    ]
    assert [step for step in made.steps if step in wanted] == wanted
    assert made.irreversible == (RefreshGpu(GPU),)


def test_a_driver_that_has_it_already_stays() -> None:
    made = plan_refresh(*machine_of(with_program(card(driver="nvidia"))))
    assert list(made.steps) == [PersistenceOff(GPU), RefreshGpu(GPU), Confirm(GPU, 1, "nvidia")]


def test_what_counts_as_a_client_is_unloaded_and_comes_back() -> None:
    tree = with_program(card(driver="nvidia")).module("nvidia_drm").module("nvidia_modeset")
    steps = plan_refresh(*machine_of(tree)).steps
    assert [s.name for s in steps if isinstance(s, LoadModule | UnloadModule | RefreshGpu)] == [
        "modprobe -r nvidia_drm", "modprobe -r nvidia_modeset", f"nvidia-smi -r -i {GPU}",
        "modprobe nvidia_modeset", "modprobe nvidia_drm",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tree", "check"),
    [
        (with_program(card(power="off")), "refresh.dead"),
        (with_program(card(power="gone")), "refresh.dead"),
        (with_program(card(available=("nouveau",))), "refresh.no-driver"),
        (card(), "refresh.no-program"),
        (
            with_program(program(card(driver="nvidia"), 9, "game", "/dev/nvidia0")),
            "slot.in-use",
        ),
    ],
)
def test_what_stands_in_the_way_is_said(tree: HostTree, check: str) -> None:
    made = plan_refresh(*machine_of(tree))
    assert [finding.check for finding in made.blockers] == [check]
    assert made.blockers[0].remedy
