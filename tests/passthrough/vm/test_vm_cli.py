"""``passthrough vm`` as a user meets it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from builders.laptop import laptop
from builders.vm import CODE, argv, machine
from typer.testing import CliRunner, Result

from passthrough.cli import app
from passthrough.errors import PassthroughError
from passthrough.programs import User
from passthrough.vm.guest import OwnFile
from passthrough.vm.own_files import make_own_files


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["vm", *(str(word) for word in words)])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return machine(laptop()).write(tmp_path / "laptop")


@pytest.fixture
def win10(tmp_path: Path) -> Path:
    file = tmp_path / "win10.toml"
    file.write_text('name = "win10"\n[gpu]\naddress = "01:00.0"\n[acpi]\nbattery = true\n')
    return file


def test_new_writes_a_profile_that_can_be_built(tmp_path: Path, root: Path) -> None:
    file = tmp_path / "a.toml"
    assert run("new", "a", "--gpu", "01:00.0", "-o", file).exit_code == 0
    made = run("argv", file, "--root", root)
    assert made.exit_code == 0
    assert "host=0000:01:00.0" in made.stdout
    again = run("new", "a", "-o", file)
    assert again.exit_code == 3
    assert "exists already" in again.output


def test_new_starts_from_an_example(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("old")
    assert run("new", "a", "-o", file, "--force", "--like", "acer-nitro-5").exit_code == 0
    assert 'name = "a"\n' in file.read_text()


@pytest.mark.parametrize(
    "words", [("new", "a/b"), ("new", "a", "--like", "x"), ("new", "a", "--gpu", "x"), ("argv",)]
)
def test_wrong_usage_ends_with_2(words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_argv_is_printed_as_a_shell_takes_it_and_as_json(win10: Path, root: Path) -> None:
    text = run("argv", win10, "--root", root).stdout
    said = json.loads(run("argv", win10, "--root", root, "--json").stdout)
    shell = ["sh", "-c", f"printf '%s\\n' {text}"]
    words = subprocess.run(shell, capture_output=True, text=True, check=True).stdout
    assert words.splitlines() == said["argv"]
    assert [Path(file["path"]).name for file in said["files"]] == ["vars.fd", "battery.aml"]


def test_xml_is_printed_with_what_apparmor_needs(win10: Path, root: Path) -> None:
    text = run("xml", win10, "--root", root)
    assert text.stdout.startswith("<domain")
    assert "battery.aml" in text.stderr
    said = json.loads(run("xml", win10, "--root", root, "--json").stdout)
    assert said["xml"].strip() == text.stdout.strip()
    assert len(said["apparmor"]) == 1


def test_mistakes_end_with_3_and_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('name = "x"\n[gpu]\nadress = "01:00.0"\n[cpu]\ncores = 0\n')
    for command in ("argv", "xml", "check"):
        told = run(command, file)
        assert told.exit_code == 3
        assert f"{file}:3: gpu.adress: no such key; did you mean `address`?" in told.output
        assert f"{file}:5: cpu.cores: 0 is out of range" in told.output
        assert told.stdout == ""
    said = json.loads(run("argv", file, "--json").stdout)
    assert [(p["key"], p["line"]) for p in said["problems"]] == [
        ("gpu.adress", 3), ("cpu.cores", 5),
    ]  # fmt: skip
    assert said["status"] == 3


def test_files_that_cannot_be_read_end_with_3(tmp_path: Path) -> None:
    assert run("argv", tmp_path / "no.toml").exit_code == 3
    assert run("argv", tmp_path).exit_code == 3
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    told = run("argv", tmp_path / "b.toml")
    assert told.exit_code == 3
    assert "no UTF-8 text: byte 0x0" in told.output


def test_check_ends_with_1_where_something_blocks(win10: Path, root: Path) -> None:
    told = run("check", win10, "--root", root)
    assert told.exit_code == 0, told.output
    win10.write_text(win10.read_text() + '[[disk]]\npath = "gone.qcow2"\n')
    told = run("check", win10, "--root", root)
    assert told.exit_code == 1
    assert "qemu-img create -f qcow2" in " ".join(told.output.split())
    said = json.loads(run("check", win10, "--root", root, "--json").stdout)
    assert "guest.files" in {f["check"] for f in said["findings"] if f["verdict"] == "fail"}


@pytest.mark.skipif(not Path(CODE).exists(), reason="needs ovmf")
def test_files_are_made_and_variables_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    file.write_text('name = "w"\n[acpi]\nbattery = true\n[display]\nshow = "none"\n')
    assert run("argv", file, "--files").exit_code == 0
    own = tmp_path / "w.vm"
    assert (own / "battery.aml").read_bytes().startswith(b"SSDT")
    assert (own / "vars.fd").stat().st_size > 1 << 16
    (own / "vars.fd").write_bytes(b"settings")
    (own / "battery.aml").write_bytes(b"old")
    assert run("argv", file, "--files").exit_code == 0
    assert (own / "vars.fd").read_bytes() == b"settings"
    assert (own / "battery.aml").read_bytes().startswith(b"SSDT")
    file.write_text(file.read_text() + "[firmware]\nreset = true\n")
    assert run("argv", file, "--files").exit_code == 0
    assert (own / "vars.fd").stat().st_size > 1 << 16


def test_import_prints_a_profile_and_what_is_left(tmp_path: Path, root: Path) -> None:
    script = tmp_path / "boot-windows.sh"
    script.write_text(str(argv('[gpu]\naddress = "01:00.0"')) + " -soundhw hda\n")
    told = run("import", script)
    assert told.exit_code == 0
    assert "left out: -soundhw hda" in told.stderr
    file = tmp_path / "new.toml"
    assert run("import", script, "-o", file).exit_code == 0
    assert run("argv", file, "--root", root).exit_code == 0
    said = json.loads(run("import", script, "--json").stdout)
    assert said["profile"] == told.stdout
    (tmp_path / "x").write_text("hello")
    assert run("import", tmp_path / "x").exit_code == 3


def test_standard_input_is_a_profile_too(root: Path) -> None:
    def piped(text: str) -> subprocess.CompletedProcess[str]:
        script = "from passthrough.cli import main; main()"
        words = [sys.executable, "-c", script, "vm", "argv", "-", "--root", str(root)]
        return subprocess.run(words, input=text, capture_output=True, text=True, check=False)

    made = piped('name = "a"')
    assert (made.returncode, made.stdout[:4]) == (0, "qemu")
    wrong = piped("[cpu]")
    assert wrong.returncode == 3
    assert "standard input:1: name: it is missing" in wrong.stderr


def test_help_is_told_to_the_end_of_its_sentences() -> None:
    for group in ("vm", "media", "rom"):
        told = CliRunner().invoke(app, [group, "--help"], env={"COLUMNS": "80"})
        assert told.exit_code == 0
        assert "..." not in told.output.replace("[ARGS]...", "")


def test_what_is_wrong_names_its_file_and_what_to_do(tmp_path: Path) -> None:
    other = tmp_path / "hello.sh"
    other.write_text("echo hello\n")
    told = run("import", other)
    assert told.exit_code == 3
    assert f"passthrough: {other}: neither libvirt's XML nor a QEMU command line" in told.output
    gone = run("import", tmp_path / "gone.xml")
    assert gone.exit_code == 3
    assert "try: virsh dumpxml" in gone.output
    nameless = run("check", "")
    assert nameless.exit_code == 3
    assert "no profile is named" in nameless.output
    for words in (["new", "w", "-o"], ["import", other, "-o"]):
        other.write_text("qemu-system-x86_64 -m 4G\n")
        lost = run(*words, tmp_path / "no folder/w.toml")
        assert lost.exit_code == 3
        assert "passthrough: " in lost.output
        assert f"there is no directory {tmp_path}/no folder" in lost.output


def test_an_import_is_written_and_told_as_json_at_once(tmp_path: Path) -> None:
    script, out = tmp_path / "w.sh", tmp_path / "w.toml"
    script.write_text("qemu-system-x86_64 -m 4G -no-such-option\n")
    told = run("import", script, "-o", out, "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["profile"] == out.read_text()
    assert run("import", script, "-o", out, "--json").exit_code == 3  # it is there already


def test_all_that_is_missing_is_told_at_once(tmp_path: Path, root: Path) -> None:
    """Whoever has to dump a ROM first hears of the disk and the ISO, too."""
    file = tmp_path / "w.toml"
    file.write_text(
        'name = "w"\n[gpu]\naddress = "01:00.0"\nrom = "card.rom"\n[acpi]\nvbios = true\n'
        '[[disk]]\npath = "gone.qcow2"\n[media]\ndrivers = ["gone.iso"]\n'
    )
    told = run("check", file, "--root", root)
    assert told.exit_code == 1
    text = " ".join(told.output.split())
    for gone in ("card.rom", "gone.qcow2", "gone.iso"):
        assert f"{gone} is not there" in text
    assert text.count("card.rom is not there") == 1
    assert f"passthrough rom dump 0000:01:00.0 -o {tmp_path}/card.rom" in text


@pytest.mark.skipif(not Path(CODE).exists(), reason="needs ovmf")
def test_a_vms_own_secrets_are_its_owners_only(tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    file.write_text('name = "w"\n[acpi]\nbattery = true\n[display]\nshow = "none"\n')
    before = os.umask(0o022)
    try:
        told = run("argv", file, "--files")
        assert told.exit_code == 0, told.output
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    own = tmp_path / "w.vm"
    rights = {path.name: path.stat().st_mode & 0o777 for path in (own, *own.iterdir())}
    # Others enter the folder by name, for libvirt's QEMU reads the tables.
    assert rights == {"w.vm": 0o711, "vars.fd": 0o600, "battery.aml": 0o644}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who could read everything")
def test_root_copies_nothing_that_the_owner_may_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"root's own")
    secret.chmod(0o600)
    place = Path(tempfile.mkdtemp(prefix="dgpukit-"))  # pytest's own folders let nobody in
    try:
        os.chown(place, 65534, 65534)
        (place / "own.vm").symlink_to(tmp_path)
        nobody = User(65534, 65534, "nobody", str(place))
        with pytest.raises(PassthroughError, match="cannot be read by nobody"):
            make_own_files([OwnFile(f"{place}/vars.fd", copy_of=str(secret))], nobody)
        assert not (place / "vars.fd").exists()
        # Nor is written where the owner's link leads, if the owner may not.
        with pytest.raises(PassthroughError, match="cannot be made by nobody"):
            make_own_files([OwnFile(f"{place}/own.vm/new", b"table")], nobody)
        with pytest.raises(PassthroughError, match=rf"^{place}/own.vm/w.vm/\*: it cannot"):
            make_own_files([], nobody, folder=f"{place}/own.vm/w.vm")
        assert {path.name for path in tmp_path.iterdir()} == {"secret"}
        make_own_files([OwnFile(f"{place}/vars.fd", b"table")], nobody)
        assert (place / "vars.fd").stat().st_uid == 65534
        assert os.geteuid() == 0
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("words", [("check", "w"), ("argv", "w"), ("new", "w")])
def test_a_home_that_cannot_be_looked_into_is_told(tmp_path: Path, words: tuple[str, ...]) -> None:
    """The kernel refuses a name of 300 letters, as it refuses a folder of somebody else's."""
    home = tmp_path / ("x" * 300)
    told = CliRunner().invoke(app, ["vm", *words], env={"HOME": str(home)})
    assert told.exit_code == 3
    assert f"{home}/.config/dgpukit/w.toml" in told.output
    assert "file name too long" in told.output
    lost = run("new", "w", "-o", home / "w.toml")
    assert lost.exit_code == 3
    assert "file name too long" in lost.output
