from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest
from builders.rom import image, nvgi, nvidia_desktop, pcir

from romkit.catalogue import COLUMNS, catalogue, row_of


def test_a_row_has_every_column() -> None:
    for data in (
        nvgi(2, nvidia_desktop()),
        image(pcir(vendor=0x1002)),
        b"",
        b"\x55\xaa" + bytes(9),
    ):
        assert list(row_of(data)) == list(COLUMNS)


def test_a_row_says_what_a_rom_is() -> None:
    row = row_of(nvgi(2, nvidia_desktop()))
    assert row["container"] == "NVGI"
    assert row["rom_size"] == len(nvidia_desktop())
    assert (row["vendor"], row["device"]) == ("10de", "1c03")
    assert row["blockers"] == "rom.container"
    assert row["chains_agree"] is False


def test_a_row_of_no_rom_says_why() -> None:
    row = row_of(b"PK\x03\x04" + bytes(99))
    assert "ZIP" in row["error"]
    assert row["size"] == 103


def test_unreadable_items_become_rows() -> None:
    def read(item: int) -> bytes:
        if item == 2:
            raise PermissionError(13, "Permission denied")
        return image(pcir(vendor=item))

    with ThreadPoolExecutor(2) as pool:
        table = dict(catalogue([1, 2, 3], read, pool))
    assert table[2]["error"] == "Permission denied"
    assert table[3]["vendor"] == "0003"


def test_items_are_taken_as_they_are_worked_on() -> None:
    """A million paths must not become a million waiting tasks."""
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    class Lazy(Executor):
        def submit(self, fn, /, *args, **kwargs):
            future: Future[object] = Future()
            future.set_result(fn(*args, **kwargs))
            return future

    rows = catalogue(items(), lambda n: b"", Lazy(), window=8)
    next(rows)
    assert taken <= 16
    rows.close()


@pytest.mark.slow
def test_a_dask_cluster_is_an_executor() -> None:
    distributed = pytest.importorskip("distributed", reason="pip install distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        table = dict(catalogue([0x1002, 0x10DE], _rom, client.get_executor()))
    assert {row["vendor"] for row in table.values()} == {"1002", "10de"}


def _rom(vendor: int) -> bytes:
    return image(pcir(vendor=vendor))
