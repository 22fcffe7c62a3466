"""``passthrough media``: discs for the guest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from passthrough.cli.outcome import answering
from romkit.cli.options import Json
from romkit.cli.program import new_group
from romkit.cli.terminal import print_json, say, shown
from romkit.render.text import count, human_size

if TYPE_CHECKING:
    from passthrough.vm.media import File

app = new_group("Make discs for a guest.")


#: How the name of a disc begins that is being written.
_HALF = ".passthrough-"


@app.callback()
def media() -> None:
    """Make discs for a guest."""


@app.command()
def drivers(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="Directories with drivers, or single installers; each keeps its name.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="ISO", help="The disc.", show_default=False)
    ],
    virtio: Annotated[
        Path | None,
        typer.Option(
            metavar="ISO", help="Put the virtio drivers of this disc on it.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output.")] = False,
    as_json: Json = False,
) -> None:
    """Make a disc with drivers, and with what the guest needs besides: see its CHECKLIST.txt."""
    from passthrough.vm.guest_kit import guest_kit
    from passthrough.vm.media import File, MediaError, open_disc, write_disc
    from romkit.cli.search import progress_bar

    with answering(as_json), ExitStack() as stack:
        files, date, left = _collect(sources)
        if virtio is not None:
            stream = stack.enter_context(_opened(virtio))
            found = stack.enter_context(open_disc(stream, shown(virtio)))
            files |= {f"virtio/{name}": file for name, file in found.items()}
            date = max(date, int(virtio.stat().st_mtime))
        for name, text in guest_kit(files).items():
            if name in files:
                raise MediaError(f"{name}: the guest kit has a file of this name",
                                 hint="give the directory another name")  # fmt: skip
            files[name] = File(text, len(text))
        inputs = [*sources, *([virtio] if virtio else [])]
        inputs += [Path(f.source) for f in files.values() if isinstance(f.source, str)]
        with _whole(output, inputs, force=force) as out, progress_bar("writing") as tick:
            write_disc(files, out, date=date, tick=tick)
    size = sum(file.size for file in files.values())
    if as_json:
        print_json({"path": str(output), "files": sorted(files), "bytes": size, "left": left})
    else:
        say(f"{shown(output)}: {count(len(files), 'file')}, {human_size(size)}")
    for what in left:
        say(f"left out: {shown(what)}", err=True)


def _collect(sources: list[Path]) -> tuple[dict[str, File], int, list[str]]:
    """The files to be on the disc, the date of the newest, and what was left out, with why."""
    from passthrough.vm.media import File, MediaError

    files: dict[str, File] = {}
    left: list[str] = []
    date = 0
    for source in sources:
        top = source.resolve().name
        before = len(files)
        try:
            for path in sorted(_walk(source, left)):
                status = path.stat()
                name = f"{top}/{path.relative_to(source).as_posix()}" if path != source else top
                if name in files:
                    raise MediaError(f"{shown(path)}: {name} is on the disc already",
                                     hint="give one of the directories another name")  # fmt: skip
                files[name] = File(str(path), status.st_size)
                date = max(date, int(status.st_mtime))
        except OSError as error:
            raise _unreadable(Path(error.filename or source), error) from None
        if len(files) == before:
            raise MediaError(f"{shown(source)}: there is no file in it",
                             hint="name the folder that the drivers were unpacked to")  # fmt: skip
    return files, date, left


def _walk(source: Path, left: list[str]) -> Iterator[Path]:
    """A file, or all below a directory. What is neither is left out."""
    if not source.is_dir():
        with source.open("rb"):
            yield source
        return

    def fail(error: OSError) -> None:
        raise error

    for folder, below, names in os.walk(source, onerror=fail):
        # Whoever follows links to directories may go round in circles.
        left += [f"{Path(folder, name)}: a link to a directory" for name in below
                 if Path(folder, name).is_symlink()]  # fmt: skip
        for name in names:
            path = Path(folder, name)
            if not path.is_file():
                why = "a link that leads nowhere" if path.is_symlink() else "no file"
                left.append(f"{path}: {why}")
            else:
                with path.open("rb"):  # better now than when half of the disc is written
                    yield path


def _unreadable(path: Path, error: OSError) -> Exception:
    from passthrough.vm.media import MediaError

    return MediaError(f"{shown(path)}: {(error.strerror or str(error)).lower()}")


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None


@contextmanager
def _whole(output: Path, inputs: list[Path], *, force: bool) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete, and never an input's."""
    import tempfile

    from passthrough.vm.media import MediaError

    place = Path(os.path.realpath(output))
    if any(place == path.resolve() for path in inputs):
        raise MediaError(f"{shown(output)}: is an input, which is never changed")
    if place.exists() and not (force and place.is_file()):
        why = "exists already" if place.is_file() else "is no file"
        hint = "another name, or --force" if place.is_file() else "another name"
        raise MediaError(f"{shown(output)}: {why}", hint=hint)
    if not place.parent.is_dir():
        raise MediaError(f"{shown(output)}: there is no directory {shown(place.parent)}",
                         hint="check the name")  # fmt: skip
    try:
        descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=_HALF)
        half = Path(name)
        try:
            with os.fdopen(descriptor, "w+b") as stream:
                yield stream
                stream.flush()
                os.fsync(descriptor)
            mask = os.umask(0)
            os.umask(mask)
            half.chmod(0o666 & ~mask)
            half.replace(place)
        finally:
            half.unlink(missing_ok=True)
    except OSError as error:
        # Its own half-written file has a name that nobody knows.
        file = error.filename or ""
        ours = not file or Path(file).name.startswith(_HALF)
        raise _unreadable(output if ours else Path(file), error) from None
