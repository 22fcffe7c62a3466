"""A driver disc as a kernel sees it that has nothing to do with how it was made."""

from __future__ import annotations

import base64
import hashlib
import io
import json

import pytest

from lab.machine import Lab
from passthrough.vm.guest_kit import guest_kit
from passthrough.vm.media import File, write_disc

TREE = {
    "setup.exe": b"MZ" + bytes(range(256)) * 300,
    "Display.Driver/A driver with a long name, spaces and ümläuts, as shipped.inf": b"[Version]",
    "a/b/c/d/e/f/g/h/i/deep.sys": b"deep",
    "empty.txt": b"",
    **guest_kit(["virtio/viostor/w10/amd64/viostor.inf"]),
}

_READ = """
import hashlib, json, os
found = {}
for folder, _, names in os.walk("/run/disc"):
    for name in names:
        path = os.path.join(folder, name)
        with open(path, "rb") as stream:
            found[path[len("/run/disc/"):]] = hashlib.sha256(stream.read()).hexdigest()
print(json.dumps(found))"""


@pytest.mark.parametrize("lab", ["laptop"], indirect=True)
def test_linux_reads_the_disc_in_both_ways(lab: Lab) -> None:
    out = io.BytesIO()
    write_disc({n: File(d, len(d)) for n, d in TREE.items()}, out, date=1_700_000_000)
    packed = base64.b64encode(out.getvalue())
    lab.run("sh", "-c", "base64 -d > /run/disc.iso; mkdir /run/disc", stdin=packed).check()
    lab.sh("for m in loop isofs udf nls_utf8; do modprobe $m || exit 1; done").check()
    wanted = {name: hashlib.sha256(data).hexdigest() for name, data in TREE.items()}
    try:
        for kind, options in (("iso9660", "ro,iocharset=utf8"), ("udf", "ro,iocharset=utf8")):
            lab.run(
                "mount", "-t", kind, "-o", f"loop,{options}", "/run/disc.iso", "/run/disc"
            ).check()
            try:
                assert json.loads(lab.python(_READ).check().out) == wanted, kind
            finally:
                lab.sh("umount /run/disc").check()
    finally:
        lab.sh("rm -r /run/disc /run/disc.iso; modprobe -r loop isofs udf nls_utf8; true")
