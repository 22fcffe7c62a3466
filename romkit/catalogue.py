"""Many ROMs as rows of a table, over any executor.

An executor is anything with `submit` as `concurrent.futures` defines it: a pool of threads or
processes, or dask's ``Client.get_executor()``, with which a collection outgrows one machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Any, TypeVar

from romkit.errors import RomError
from romkit.rom import Rom, parse_rom

T = TypeVar("T")
Row = dict[str, Any]

#: Files under way at once, for each that the executor can be asked about: enough to keep every
#: worker busy, few enough that a million files cost no memory.
WINDOW = 64

#: What a row holds, and as what a database stores it.
COLUMNS: dict[str, str] = {
    "sha256": "TEXT",
    "size": "INTEGER",
    "error": "TEXT",
    "container": "TEXT",
    "rom_offset": "INTEGER",
    "rom_size": "INTEGER",
    "images": "TEXT",
    "vendor": "TEXT",
    "device": "TEXT",
    "class_code": "TEXT",
    "subsystem": "TEXT",
    "family": "TEXT",
    "version": "TEXT",
    "build_date": "TEXT",
    "board": "TEXT",
    "gop_vendor": "TEXT",
    "gop_version": "TEXT",
    "machines": "TEXT",
    "signed": "INTEGER",
    "digest_ok": "INTEGER",
    "signer": "TEXT",
    "chains_agree": "INTEGER",
    "copies": "INTEGER",
    "blockers": "TEXT",
    "warnings": "TEXT",
}


def row_of(data: bytes) -> Row:
    """One file as a row: every key of `COLUMNS`, None where it does not apply."""
    row: Row = dict.fromkeys(COLUMNS)
    row["size"] = len(data)
    row["sha256"] = hashlib.sha256(data).hexdigest()
    try:
        rom = parse_rom(data)
    except RomError as err:
        row["error"] = str(err)
    else:
        row.update(_facts(rom))
    return row


def catalogue(
    items: Iterable[T],
    read: Callable[[T], bytes],
    executor: Executor,
    *,
    window: int = WINDOW,
) -> Iterator[tuple[T, Row]]:
    """A row for each item, in the order in which they are done.

    Args:
        items: anything that `read` understands: paths, keys of a store.
        read: gives an item's bytes; runs in the executor, so it must be picklable for one that
            has processes. An OSError of it becomes the row's error.
        executor: where the work is done; it is not shut down here.
        window: items that are under way at once.

    Raises:
        concurrent.futures.BrokenExecutor: a worker was killed, or did not start. The rows of what
            was done before have been handed out.
    """
    waiting: dict[Future[Row], T] = {}
    queue = iter(items)
    try:
        while True:
            for item in queue:
                waiting[executor.submit(_work, read, item)] = item
                if len(waiting) >= window:
                    break
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()
    finally:
        for future in waiting:
            future.cancel()


def _work(read: Callable[[T], bytes], item: T) -> Row:
    try:
        data = read(item)
    except OSError as err:
        return {**dict.fromkeys(COLUMNS), "error": err.strerror or str(err)}
    return row_of(data)


def _facts(rom: Rom) -> Row:
    from romkit.checks import QUICK_CHECKS, verify
    from romkit.checks.device import subsystems
    from romkit.finding import Severity, Verdict

    failed = [f for f in verify(rom, checks=QUICK_CHECKS) if f.verdict is Verdict.FAIL]

    def checks(severity: Severity) -> str:
        return " ".join(sorted({f.check for f in failed if f.severity is severity}))

    stated = dict.fromkeys(f"{v:04x}:{d:04x}" for _, (v, d) in subsystems(rom))
    row: Row = {
        "container": rom.container.kind.value if rom.container else None,
        "rom_offset": rom.rom_offset,
        "rom_size": rom.rom_end - rom.rom_offset,
        "images": " ".join(f"{i.code_type:02x}" for i in rom.images),
        "subsystem": " ".join(stated) or None,
        "chains_agree": rom.chains_agree,
        "copies": len(rom.tail.copies) if rom.tail else 0,
        "blockers": checks(Severity.BLOCKER),
        "warnings": checks(Severity.WARNING),
    }
    if rom.images:
        pcir = (rom.legacy or rom.images[0]).pcir
        row["vendor"] = f"{pcir.vendor_id:04x}"
        row["device"] = f"{pcir.device_id:04x}"
        row["class_code"] = f"{pcir.class_code:06x}"
    row.update(_vbios(rom))
    row.update(_drivers(rom))
    return row


def _vbios(rom: Rom) -> Row:
    legacy = rom.legacy
    if legacy is None:
        return {}
    if legacy.nvidia is not None:
        n = legacy.nvidia
        return {
            "family": n.family,
            "version": n.version,
            "build_date": n.build_date,
            "board": n.product or n.board,
        }
    if legacy.atom is not None:
        a = legacy.atom
        board = ", ".join(s for s in a.strings if s != a.part_number) or None
        return {"version": a.version or a.part_number, "build_date": a.date, "board": board}
    if legacy.vbt is not None:
        v = legacy.vbt
        return {"family": v.platform, "version": v.build_number}
    return {"board": legacy.oem_string}


def _drivers(rom: Rom) -> Row:
    drivers = [image.efi for image in rom.efi_images if image.efi is not None]
    if not drivers:
        return {}
    gops = [efi.gop for efi in drivers if efi.gop is not None]
    signatures = [s for efi in drivers for s in efi.signatures]
    return {
        "machines": " ".join(efi.machine_name for efi in drivers),
        "gop_vendor": gops[0].vendor if gops else None,
        "gop_version": gops[0].version or None if gops else None,
        "signed": all(efi.signed for efi in drivers),
        "digest_ok": all(efi.digest_ok for efi in drivers) if signatures else None,
        "signer": next((s.signer for s in signatures if s.signer), None),
    }
