"""``passthrough vm``: profiles, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from passthrough.cli.outcome import answering
from passthrough.cli.output import write_output
from passthrough.cli.profile import Name, profile_of, reporting, text_of
from passthrough.cli.root import Root, inventory_of
from romkit.cli.options import Force, Json
from romkit.cli.program import new_group
from romkit.cli.status import BLOCKED
from romkit.cli.terminal import print_json, say, shown, style_of
from romkit.render.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from passthrough.vm.capabilities import Capabilities
    from passthrough.vm.guest import Guest, OwnFile

app = new_group("Profiles of VMs, and what becomes of them.")

Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Where to.", show_default=False),
]
Install = Annotated[bool, typer.Option("--install", help="Start from the installation medium.")]
Files = Annotated[
    bool,
    typer.Option("--files", help="Also write what it names: tables, the firmware's variables."),
]


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the VM is called.")],
    gpu: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="The GPU it gets.", show_default=False)
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="EXAMPLE",
            help="Start from an example: acer-nitro-5, clevo-p650hp6.",
            show_default=False,
        ),
    ] = None,
    output: Output = None,
    force: Force = False,
) -> None:
    """Write a profile in which every key stands with what it does: ~/.config/dgpukit/NAME.toml."""
    from passthrough.cli.root import address_of
    from passthrough.errors import PassthroughError
    from passthrough.programs import find_user, make_file
    from passthrough.vm.kinds import NAME, Wrong
    from passthrough.vm.profile_file import is_there, named_profile
    from passthrough.vm.template import example_names, example_text, renamed, template_text

    try:
        NAME.read(name)
    except Wrong as wrong:
        raise typer.BadParameter(f"{wrong}; allowed: {NAME.allowed}") from None
    if like is not None and like not in example_names():
        raise typer.BadParameter(f"no example {like}: there are {', '.join(example_names())}")
    address = address_of(gpu)
    text = renamed(example_text(like), name) if like else template_text(name, address)
    with answering():
        if output is not None:
            write_output(output, text.encode(), force=force)
            if str(output) != "-":
                say(shown(output))
            return
        owner = find_user()
        place = named_profile(name, owner)
        if is_there(place) and not force:
            raise PassthroughError(f"{place}: exists already", hint="another name, or --force")
        make_file(str(place), text.encode(), owner, anew=True)
        say(shown(place))


@app.command()
def argv(
    profile: Name,
    install: Install = False,
    root: Root = None,
    files: Files = False,
    as_json: Json = False,
) -> None:
    """Print QEMU's command line. Fails (3) where this QEMU would not take it."""
    from passthrough.vm.qemu import build_argv

    with reporting(as_json):
        guest, known = _guest(profile, root, install=install)
        line = build_argv(guest, known)
        if files:
            _write(line.files, root)
    if as_json:
        print_json({"argv": list(line.argv), "files": _records(line.files), "notes": line.notes})
        return
    say(str(line))
    _notes(line.notes, line.files, written=files)


@app.command()
def xml(
    profile: Name,
    install: Install = False,
    root: Root = None,
    files: Files = False,
    as_json: Json = False,
) -> None:
    """Print libvirt's domain, for `virsh define`; on stderr what AppArmor has to be told."""
    from passthrough.vm.libvirt import build_domain
    from passthrough.vm.qemu import build_argv

    with reporting(as_json):
        guest, known = _guest(profile, root, install=install)
        build_argv(guest, known)  # what QEMU would not take, it would not take from libvirt
        domain = build_domain(guest)
        if files:
            _write(domain.files, root)
    if as_json:
        print_json({"xml": domain.xml, "apparmor": list(domain.hidden_files),
                    "files": _records(domain.files), "notes": domain.notes})  # fmt: skip
        return
    say(domain.xml.rstrip("\n"))
    if domain.hidden_files:
        say("AppArmor: /etc/apparmor.d/local/abstractions/libvirt-qemu needs", err=True)
        for rule in domain.hidden_files:
            say(f"  {shown(rule)}", err=True)
    _notes(domain.notes, domain.files, written=files)


@app.command()
def check(
    ctx: typer.Context,
    profile: Name,
    install: Install = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Would this VM start here? Fails (1) where something stands in its way."""
    from diag.render.report import report_text
    from passthrough.vm.check import check_profile
    from romkit.finding import blocking

    with reporting(as_json):
        read = profile_of(profile)
        findings = check_profile(read, inventory_of(root).host, install=install).findings
    if as_json:
        print_json({"profile": read.name, "findings": [f.as_json() for f in findings]})
    else:
        say(report_text(read.name, findings, style_of(ctx)))
    if blocking(findings):
        raise typer.Exit(BLOCKED)


@app.command("import")
def import_(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="libvirt's XML (virsh dumpxml), or a script or line that starts QEMU.",
            readable=False,
        ),
    ],
    output: Output = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make a profile of a VM that is there already; on stderr what is not in it."""
    from diag.demand import NotAVm
    from passthrough.vm.imported import import_vm
    from romkit.cli.files import input_name

    with reporting(as_json):
        text = text_of(path, "description of a VM", hint="virsh dumpxml NAME > FILE")
        # The profile names files as its folder sees them.
        name = _name_of(path)
        try:
            made = import_vm(text, name=name, folder=str((output or path).absolute().parent))
        except NotAVm as error:
            raise NotAVm(f"{input_name(path)}: {error.message}", hint=error.hint) from None
        if output is not None or not as_json:
            write_output(output or Path("-"), made.text.encode(), force=force)
    if as_json:
        print_json({"profile": made.text, "left": list(made.left)}, err=str(output) == "-")
        return
    for left in made.left:
        say(f"left out: {shown(left)}", err=True)


def _name_of(path: Path) -> str:
    import re

    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "-", path.stem).strip("-._+")
    return plain[:64] or "imported"


def _guest(name: str, root: Path | None, *, install: bool) -> tuple[Guest, Capabilities]:
    from passthrough.vm.capabilities import Capabilities
    from passthrough.vm.guest import read_guest

    profile, machine = profile_of(name), inventory_of(root)
    known = Capabilities(machine.host)
    return read_guest(profile, machine, install=install, capabilities=known), known


def _write(files: Iterable[OwnFile], root: Path | None) -> None:
    """Make the VM's own files, as its owner's; a copy that is there stays."""
    from passthrough.programs import find_user
    from passthrough.vm.own_files import make_own_files

    if root is not None:
        raise typer.BadParameter("--files writes on this machine only: leave --root out")
    make_own_files(files, find_user())


def _records(files: Iterable[OwnFile]) -> list[dict[str, object]]:
    return [
        {"path": f.path, "copy_of": f.copy_of, "size": None if f.data is None else len(f.data)}
        for f in files
    ]


def _notes(notes: Iterable[str], files: Iterable[OwnFile], *, written: bool) -> None:
    from passthrough.vm.profile_file import is_there

    for note in notes:
        say(f"note: {shown(note)}", err=True)
    missing = [file.path for file in files if not is_there(Path(file.path))]
    if missing and not written:
        verb = "is" if len(missing) == 1 else "are"
        text = f"{count(len(missing), 'file')} that it names {verb} not there yet: --files"
        say(f"note: {text}", err=True)
