"""`diag report` and `diag explain` as a user meets them, and what holds for all checks."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from builders.host import HostTree
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.checks import CHECKS, Check, run_checks
from diag.inventory import Inventory
from diag.messages import MESSAGES
from diag.render.checks_page import checks_page
from diag.render.report import rank, report_text
from romkit.finding import Finding, Severity, Verdict
from romkit.render.style import Style

DIAG = [sys.executable, "-c", "from diag.cli import main; main()"]
GPU = "0000:01:00.0"
PORT = "0000:00:01.0"
TESTS = Path(__file__).parent


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": "120", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [*DIAG, *map(str, args)], capture_output=True, text=True, check=False, env=env
    )


def laptop(power_state: str = "D0") -> HostTree:
    status = "active" if power_state == "D0" else "suspended"
    tree = HostTree().kernel().os_release("debian").cmdline("quiet vm.ignore_msrs=1")
    tree.device(PORT, class_=0x060400, driver="pcieport", group=1)
    return tree.device(
        GPU, vendor=0x10DE, device=0x1C20, class_=0x030000, driver="vfio-pci", group=1,
        parent=PORT, power_state=power_state, runtime_status=status,
    )  # fmt: skip


# All checks.


def test_every_check_has_a_name_of_its_own_and_explains_itself() -> None:
    slugs = [check.slug for check in CHECKS]
    assert len(slugs) == len(set(slugs))
    assert len(slugs) >= 40
    for check in CHECKS:
        assert re.fullmatch(r"[a-z]+\.[a-z0-9-]+", check.slug), check.slug
        assert check.title.endswith("?"), check.slug
        assert check.source, check.slug
        assert len(inspect.getdoc(check.look) or "") > 60, check.slug


def named_checks(tree: ast.Module) -> Iterator[object]:
    """What a test takes out of diag.checks, by name or as an attribute of a module there."""
    modules: dict[str, ModuleType] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diag.checks"):
            source = importlib.import_module(node.module or "")
            for alias in node.names:
                value = getattr(source, alias.name)
                if isinstance(value, ModuleType):
                    modules[alias.asname or alias.name] = value
                yield value
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield getattr(modules.get(node.value.id), node.attr, None)


def test_every_check_is_asked_by_a_test() -> None:
    texts = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")]
    named = {v.slug for t in texts for v in named_checks(ast.parse(t)) if isinstance(v, Check)}
    unasked = [c.slug for c in CHECKS if c.slug not in named]
    assert [slug for slug in unasked if not any(f'"{slug}"' in text for text in texts)] == []


@pytest.mark.parametrize("state", ["D3hot", "D3cold"])
def test_no_check_touches_what_would_wake_a_sleeping_gpu(state: str) -> None:
    tree = laptop(state)
    run_checks(Inventory(tree.host()))
    waking = ("config", "current_link_speed", "current_link_width", "rom")
    place = tree.place(GPU)
    assert [path for path in tree.reads if path in {f"{place}/{name}" for name in waking}] == []
    assert f"{place}/power_state" in tree.reads


def test_every_file_that_is_refused_is_unknown_and_never_an_error() -> None:
    whole = laptop()
    whole.file(
        "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", b"12345"
    )
    for path in list(whole.files):
        tree = laptop().refused(path)
        findings = run_checks(Inventory(tree.host()))
        assert all(isinstance(finding, Finding) for finding in findings), path


#: Files that people and programs write, and that checks read.
WRITTEN = (
    "/proc/cmdline", "/proc/cpuinfo", "/proc/meminfo", "/proc/modules", "/proc/self/limits",
    "/proc/self/status", "/proc/sys/kernel/osrelease", "/proc/config.gz", "/proc/iomem",
    "/etc/os-release", "/etc/default/grub", "/etc/group", "/etc/modprobe.d/a.conf",
    "/etc/modules", "/etc/mkinitcpio.conf", "/etc/dracut.conf.d/a.conf",
    "/etc/mkinitcpio.d/a.preset", "/etc/libvirt/qemu.conf",
    "/etc/apparmor.d/local/abstractions/libvirt-qemu", "/usr/share/qemu/firmware/a.json",
    "/sys/devices/system/cpu/present", "/sys/kernel/security/lockdown",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "/sys/firmware/acpi/tables/DSDT",
    "/sys/module/kvm/parameters/ignore_msrs", "/usr/share/misc/pci.ids",
)  # fmt: skip
VM = """<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><memory>1</memory>
<qemu:commandline><qemu:arg value='file=/a'/><qemu:arg value='path=/dev/b'/></qemu:commandline>
</domain>"""


@given(
    content=st.dictionaries(st.sampled_from(WRITTEN), st.binary(max_size=200), max_size=6),
    words=st.lists(
        st.sampled_from(["isolcpus=", "options vfio-pci ids=", "MODULES=(", "é", "\\\n"])
    ),
)
@settings(deadline=None)
def test_damaged_files_are_no_reason_to_end(content: dict[str, bytes], words: list[str]) -> None:
    tree = laptop().file("/sys/module/apparmor/parameters/enabled", "Y").folder("/etc/libvirt")
    for path, data in content.items():
        tree.file(path, "".join(words).encode() + data)
    run_checks(Inventory(tree.host(), vm_text=VM))


def test_a_host_of_nothing_at_all() -> None:
    findings = run_checks(Inventory(HostTree().host()))
    passed = {finding.check for finding in findings if finding.verdict is Verdict.PASS}
    # What is not there proves nothing good.
    assert passed == set()


def test_every_remedy_of_what_fails_says_something() -> None:
    findings = run_checks(Inventory(laptop().host()))
    assert [f.check for f in findings if f.verdict is Verdict.FAIL and not f.remedy] == []
    assert [f.check for f in findings if f.verdict is Verdict.FAIL and not f.evidence] == []


# The report.


def test_what_blocks_comes_first_and_what_passed_is_folded() -> None:
    kinds = [
        Finding("a.note", Verdict.FAIL, Severity.NOTE, "machine", "t"),
        Finding("a.pass", Verdict.PASS, Severity.BLOCKER, "machine", "t"),
        Finding("a.unknown", Verdict.UNKNOWN, Severity.BLOCKER, "machine", "t"),
        Finding("a.warning", Verdict.FAIL, Severity.WARNING, "machine", "t"),
        Finding("a.blocker", Verdict.FAIL, Severity.BLOCKER, "machine", "t"),
    ]
    order = [finding.check for finding in sorted(kinds, key=rank)]
    assert order == ["a.blocker", "a.warning", "a.unknown", "a.note", "a.pass"]
    text = report_text("m", kinds, Style())
    assert text.splitlines()[0] == "m: 1 blocking, 1 warning, 1 unknown, 1 of 5 checks passed"
    assert text.splitlines()[-1].strip() == "✓ a.pass"
    assert "t" in report_text("m", kinds[1:2], Style(), everything=True).splitlines()[-1]


def test_what_root_could_read_is_said_once() -> None:
    remedy = "run it again as root, or with sudo"
    kinds = [
        Finding(f"a.{n}", Verdict.UNKNOWN, Severity.NOTE, "machine", "t", remedy=remedy)
        for n in "xyz"
    ]
    text = report_text("m", kinds, Style())
    assert text.count("sudo") == 1
    assert "3 answers" in text


def test_text_of_strangers_is_harmless() -> None:
    bad = Finding("a.b", Verdict.FAIL, Severity.NOTE, "\x1b[2J", "a\nb", (), "\x1b]0;x\x07")
    text = report_text("\x1b[31m", [bad], Style())
    assert "\x1b" not in text
    assert len(text.splitlines()) == 3


def test_long_remedies_are_broken_and_each_way_has_lines_of_its_own() -> None:
    ways = [f"{word} " * 40 + "end" for word in ("first", "second")]
    long = Finding(
        "a.b", Verdict.FAIL, Severity.NOTE, "0000:01:00.0", "title " * 30, (), " Or: ".join(ways)
    )
    lines = report_text("m", [long], Style(), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if line.strip().startswith("→ first")]) == 1
    assert len([line for line in lines if line.strip().startswith("or: second")]) == 1
    assert " ".join(lines).count("0000:01:00.0") == 1
    # A command is not broken inside a word.
    path = "/sys/bus/pci/devices/0000:01:00.0/" + "x" * 90
    told = Finding("a.b", Verdict.FAIL, Severity.NOTE, "machine", "t", (), f"echo 1 > {path}")
    assert path in report_text("m", [told], Style(), width=80)


def test_report_of_a_directory(tmp_path: Path) -> None:
    done = run("report", "--root", laptop().write(tmp_path))
    assert done.stderr == ""
    assert done.returncode in (0, 1)
    assert "vm.ignore_msrs is no parameter" in done.stdout
    as_json = json.loads(run("report", "--json", "--root", tmp_path).stdout)
    assert as_json["blocks"] is (done.returncode == 1)
    assert {
        "check",
        "verdict",
        "severity",
        "subject",
        "title",
        "evidence",
        "remedy",
        "source",
    } == set(as_json["findings"][0])


def test_report_of_this_machine_is_sensible_and_quick() -> None:
    started = time.monotonic()
    done = run("report")
    assert done.stderr == ""
    assert done.returncode in (0, 1)
    assert done.stdout.startswith("this machine: ")
    # A second and a Python's start, on a busy machine.
    assert time.monotonic() - started < 10


def test_a_vm_is_weighed_too(tmp_path: Path) -> None:
    root = laptop().file("/proc/meminfo", "MemTotal: 4194304 kB").write(tmp_path / "root")
    vm = tmp_path / "vm.xml"
    vm.write_text("<domain><name>w</name><memory unit='GiB'>8</memory></domain>")
    done = run("report", "--root", root, "--vm", vm)
    assert done.returncode == 1
    assert "host.memory" in done.stdout
    vm.write_text("no VM")
    done = run("report", "--root", root, "--vm", vm)
    assert done.returncode == 3
    assert "virsh dumpxml" in done.stderr
    assert run("report", "--root", root, "--vm", tmp_path / "none").returncode == 3
    assert run("report", "--root", tmp_path / "none").returncode == 3


# Explanations.


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (["kernel.isolcpus"], ["Processor", "source"]),
        (["kernel"], ["kernel.acpi-osi", "kernel.vfio-modules"]),
        (["stuck_d3"], ["powered off"]),
        (["vfio:", "Unable", "to", "power", "on", "device,", "stuck", "in", "D3"], ["stuck_d3"]),
        (["VIDEO_TDR_FAILURE"], ["GVT-g", "not sure"]),
        (["TianoCore", "screen", "and", "100%", "CPU"], ["NVRAM"]),
        (["host", "stutters"], ["audio function"]),
        (["NVIDIA control panel"], ["Looking Glass"]),
        (['failed to find romfile "/x.rom"'], ["romfile_missing", "AppArmor"]),
        (["vfio_dma_map(0x55, 0x0, 0x80000000, 0x7f) = -12 (Cannot allocate)"], ["VFIO pins"]),
        (["VFIO_MAP_DMA failed: Cannot allocate memory"], ["VFIO pins"]),
        (["0000:01:00.0: not ready 1023ms after resume; waiting"], ["giving up", "power_state"]),
        (["GPU 00000000:01:00.0: In use by another client"], ["nvidia-smi -pm 0"]),
        (["No discrete VGA device found"], ["bbswitch_no_method"]),
        (["ERROR: module not found: 'vfio_virqfd'"], ["6.2", "MODULES"]),
        (["Please ensure all devices within the iommu_group are bound to their vfio bus driver."],
         ["bind every device", "diag iommu"]),
        (['No interrupt remapping support.  Use the module param "allow_unsafe_interrupts" to'],
         ["trusted only"]),
    ],
)  # fmt: skip
def test_explain(what: list[str], words: list[str]) -> None:
    done = run("explain", *what)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(word in done.stdout for word in words)


def test_explain_lists_what_it_knows() -> None:
    done = run("explain")
    assert all(check.slug in done.stdout for check in CHECKS)
    records = json.loads(run("explain", "--json").stdout)
    assert len(records) == len(CHECKS) + len(MESSAGES)


@pytest.mark.parametrize("words", [
    ["code43"], ["Code", "43"], ["Code 43"], ["error 43"], ["Error Code 43."], ["code-43"],
])  # fmt: skip
def test_explain_code_43_goes_through_its_checklist(words: list[str], tmp_path: Path) -> None:
    root = laptop().write(tmp_path)
    done = run("explain", *words, "--root", root)
    assert done.returncode in (0, 1)
    assert done.stderr == ""
    assert GPU in done.stdout
    assert run("explain", "kernel", "--root", root).returncode == 2


def test_explain_does_not_know() -> None:
    done = run("explain", "kernel.isolcpu")
    assert done.returncode == 3
    assert "diag explain kernel.isolcpus" in done.stderr
    assert run("explain", "the moon").returncode == 3


def test_the_page_of_checks_is_up_to_date() -> None:
    page = Path(__file__).parent.parent.parent / "docs/checks.md"
    assert page.read_text(encoding="utf-8") == checks_page(), "python -m diag.render.checks_page"
