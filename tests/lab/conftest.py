"""Labs for tests: one boot serves many of them.

A test asks for ``lab`` and names its machine by
``@pytest.mark.parametrize("lab", ["laptop"], indirect=True)``. The machine is kept for the next
test unless this one has left it changed; a changed one is switched off, and the next test gets a
new one.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import functools
from collections.abc import Iterator

import pytest

from lab.kernel import fetch_kernel
from lab.machine import Lab, LabError, open_lab, qemu_path
from lab.packages import LabUnavailable
from lab.sample import sample_rom
from lab.state import read_errors, read_state
from lab.topology import TOPOLOGIES


@functools.cache
def missing() -> str | None:
    """Why there can be no lab here; None if there can."""
    try:
        qemu_path()
        fetch_kernel()
    except LabUnavailable as reason:
        return str(reason)
    return None


def _whole_state(lab: Lab) -> dict[str, object]:
    return {**read_state(lab), "errors": read_errors(lab)}


class Pool:
    """The lab that is up, with what its state was after its start."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._lab: Lab | None = None
        self._state: dict[str, object] = {}
        self._begins: dict[str, dict[str, object]] = {}

    def get(self, name: str) -> Lab:
        lab = self._lab
        if lab is None or not lab.alive or lab.topology.name != name:
            self.close()
            topology = TOPOLOGIES[name]
            # The display that the firmware boots with needs the ROM that QEMU has for it.
            rom = None if topology.boot_vga == topology.gpu else sample_rom()
            lab = self._lab = self._stack.enter_context(open_lab(topology, rom=rom))
            # All labs from one snapshot begin alike. Where one does not, it serves one test only.
            if not lab.restored or name not in self._begins:
                self._begins[name] = _whole_state(lab)
            self._state = self._begins[name]
        return lab

    def give_back(self) -> None:
        """Keep the lab only if it is as it was."""
        if self._lab is not None and not self._unchanged(self._lab):
            self.close()

    def _unchanged(self, lab: Lab) -> bool:
        try:
            return lab.alive and _whole_state(lab) == self._state
        except LabError:  # it does not answer any longer
            return False

    def close(self) -> None:
        self._lab = None
        self._stack.close()


_pool = Pool()
atexit.register(_pool.close)


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A booted lab of the topology that the test names."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    yield _pool.get(request.param)
    _pool.give_back()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """A lab that cannot be had for what this test needs is no failure."""
    with _skipping():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """The same, where the test itself finds it out."""
    with _skipping():
        yield


@contextlib.contextmanager
def _skipping() -> Iterator[None]:
    try:
        yield
    except LabUnavailable as reason:
        pytest.skip(str(reason))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one file and one topology run in one worker, after each other."""
    mine = [item for item in items if item.path.parent.name == "lab"]
    for item in mine:
        item.add_marker(pytest.mark.lab)
        item.add_marker(pytest.mark.xdist_group(_group(item)))
        # A worker's reports bring it to the one that keeps the times.
        item.user_properties.append((_PROPERTY, _group(item)))
    rest = [item for item in items if item not in mine]
    took = _seconds(mine)
    items[:] = rest + sorted(mine, key=lambda item: (-took[_group(item)], _group(item)))


#: Of a test: its group.
_PROPERTY = "lab group"
#: In pytest's cache: how long each group took when it was last run.
_TOOK = "lab/seconds"
#: Seconds that a test takes of which nothing is known: those of whole commands take longest.
_GUESS = {True: 25.0, False: 4.0}


def _seconds(items: list[pytest.Item]) -> dict[str, float]:
    """How long each group will take. The longest begin, so that all workers end together."""
    guessed: collections.Counter[str] = collections.Counter()
    for item in items:
        guessed[_group(item)] += _GUESS[item.path.stem.startswith("test_passthrough_")]
    known = _known(items[0].config) if items else {}
    return {name: known.get(name, guess) for name, guess in guessed.items()}


def _known(config: pytest.Config) -> dict[str, float]:
    cache = getattr(config, "cache", None)  # an option leaves it out
    return dict(cache.get(_TOOK, {})) if cache is not None else {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Keep how long each group of lab tests took, if all of them were run."""
    config = terminalreporter.config
    took: dict[str, float] = collections.defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                for group in (value for name, value in report.user_properties if name == _PROPERTY):
                    took[str(group)] += report.duration
    cache = getattr(config, "cache", None)
    if took and cache is not None and not config.getoption("keyword"):
        cache.set(_TOOK, {**_known(config), **took})


def _group(item: pytest.Item) -> str:
    call = getattr(item, "callspec", None)
    topology = call.params.get("lab", "") if call is not None else ""
    # Most tests are about the laptop: in one group they would keep one worker busy.
    return f"{item.path.stem}-{topology}" if topology in ("", "laptop") else topology
