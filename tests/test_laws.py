"""The laws of the house, each a test of a few lines."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("romkit", "diag", "passthrough")


def sources(*packages: str) -> Iterator[tuple[Path, ast.Module]]:
    for package in packages:
        place = ROOT / package
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from romkit import cli` imports romkit.cli.
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("package", "unknown"),
    [("romkit", {"diag", "passthrough"}), ("diag", {"passthrough"})],
)
def test_imports_point_one_way(package: str, unknown: set[str]) -> None:
    wrong = [
        (str(path), name)
        for path, tree in sources(package)
        for name in imports(tree)
        if name.split(".")[0] in unknown
    ]
    assert wrong == []


def test_nothing_imports_a_command_line() -> None:
    wrong = [
        (str(path), name)
        for path, tree in sources(*PACKAGES)
        if "cli" not in path.parts
        for name in imports(tree)
        if "cli" in name.split(".")[:2]
    ]
    assert wrong == []


def test_values_import_their_display_only_inside_a_method() -> None:
    """`_repr_html_` may reach for the renderer; a module may not."""
    wrong = []
    for path, tree in sources("romkit"):
        if path.parts[1] in ("cli", "render"):
            continue
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                wrong += [(str(path), n) for n in imports(node) if n.startswith("romkit.render")]
    assert wrong == []


SYSTEM = {
    "ctypes", "fcntl", "ftplib", "glob", "http", "io", "mmap", "multiprocessing", "os", "pathlib",
    "pty", "resource", "shutil", "signal", "socket", "sqlite3", "subprocess", "sys", "tempfile",
    "threading", "urllib",
}  # fmt: skip


def test_romkit_knows_no_operating_system() -> None:
    wrong = [
        (str(path), name)
        for path, tree in sources("romkit")
        if path.parts[1] != "cli"
        for name in imports(tree)
        if name.split(".")[0] in SYSTEM
    ]
    assert wrong == []


def test_romkit_opens_no_file() -> None:
    calls = [
        (str(path), node.lineno)
        for path, tree in sources("romkit")
        if path.parts[1] != "cli"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open"
    ]
    assert calls == []


#: What reaches a machine.
REACH = SYSTEM - {"io", "sys"}


#: host.py, and what it needs where the kernel may not answer.
DOOR = ("host.py", "apart.py")


def test_only_the_door_of_diag_reaches_a_machine() -> None:
    """And nobody else opens the part that is behind it."""
    behind = [path for path, tree in sources(*PACKAGES) if "diag.apart" in set(imports(tree))]
    assert behind == [Path("diag/host.py")]
    wrong = [
        (str(path), name)
        for path, tree in sources("diag")
        if path.parts[1] not in ("cli", *DOOR)
        for name in imports(tree)
        if name.split(".")[0] in REACH
    ]
    assert wrong == []


WRITES = {
    "chmod", "hardlink_to", "link", "mkdir", "makedirs", "mkfifo", "mknod", "remove", "rename",
    "renames", "replace", "rmdir", "rmtree", "symlink", "symlink_to", "touch", "truncate",
    "unlink", "write_bytes", "write_text",
}  # fmt: skip


#: Methods of other things that are called the same.
NAMESAKES = {"link", "remove", "replace"}


@pytest.mark.parametrize("file", DOOR)
def test_the_door_to_a_machine_has_no_way_to_write(file: str) -> None:
    ((_, tree),) = sources(f"diag/{file}")
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert called & (WRITES - {"replace"}) == set()
    flags = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert flags & {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"} == set()


def test_only_the_machine_and_its_journal_write_to_a_host() -> None:
    """Others may read a log or speak to QEMU; what they change, they change through `Machine`."""
    flags = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"}
    wrong = [
        (str(path), node.attr)
        for path, tree in sources("passthrough")
        if path.parts[1] not in ("cli", "machine.py", "journal.py", "programs.py")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in flags | WRITES - NAMESAKES
    ]
    assert wrong == []


LOSSY = {"Padding", "Padded", "FlagsEnum", "Flag", "Pointer", "GreedyRange", "GreedyBytes", "Enum"}


def test_layouts_lose_no_byte() -> None:
    """Every byte of a layout has a name, so that building what was parsed gives it back."""
    used = [
        (str(path), name.id)
        for path, tree in sources("romkit/layout")
        for name in ast.walk(tree)
        if isinstance(name, ast.Name) and name.id in LOSSY
    ]
    assert used == []


def test_only_the_lens_calls_construct() -> None:
    """One place turns construct's errors into ours; elsewhere only annotations name it."""
    importers = set()
    for path, tree in sources("romkit"):
        if "layout" in path.parts:
            continue
        annotations = {
            node
            for block in ast.walk(tree)
            if isinstance(block, ast.If)
            and isinstance(block.test, ast.Name)
            and block.test.id == "TYPE_CHECKING"
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and node not in annotations:
                names = {name.split(".")[0] for name in imports(node)}
                importers |= {str(path)} if "construct" in names else set()
    assert importers == set()


HEAVY = {
    "construct", "cryptography", "hypothesis", "pefile", "pycdlib", "pydantic", "pyudev", "qemu",
    "rich", "tabulate", "uefi_firmware",
}  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES)
def test_help_imports_nothing_heavy(package: str) -> None:
    script = (
        "import sys\n"
        f"sys.argv = ['{package}', '--help']\n"
        f"from {package}.cli import app\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name.split(".")[0] for name in run.stderr.split()}
    assert "Usage" in run.stdout
    # Typer itself brings pydantic from 0.29 on: that one is Typer's doing, and pinned away.
    assert loaded & HEAVY - _typers_own() == set()


def _typers_own() -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", "import sys, typer; print('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in run.stdout.split()}


def test_importing_romkit_costs_nothing() -> None:
    script = "import sys, romkit; print('\\n'.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert {name.split(".")[0] for name in run.stdout.split()} & HEAVY == set()


def test_public_names_can_be_imported() -> None:
    import romkit

    for name in romkit.__all__:
        assert getattr(romkit, name) is not None
    with pytest.raises(AttributeError):
        romkit.no_such_name  # noqa: B018  the access itself is what is tested


def test_test_files_can_be_collected_together() -> None:
    """pytest knows a file outside a package by its name alone: two of one name stop a whole run."""
    names: dict[str, Path] = {}
    for path in sorted(ROOT.joinpath("tests").rglob("test_*.py")):
        if path.parent.joinpath("__init__.py").is_file():
            continue
        assert path.name not in names, f"{path} has the name of {names[path.name]}"
        names[path.name] = path
