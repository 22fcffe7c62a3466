"""A ROM as plain JSON types: what ``romkit parse --json`` prints, and a catalogue stores.

Lengths and offsets are bytes as numbers; ids, classes and versions are hex digits as lspci
prints them. Keys are only added over time, never renamed.
"""

from __future__ import annotations

from typing import Any

from romkit.chain import Chain
from romkit.container import Container
from romkit.efi.driver import EfiDriver
from romkit.efi.signature import Signature
from romkit.header import Npde
from romkit.image import OptionRom
from romkit.rom import Rom
from romkit.tail import TailPart

Record = dict[str, Any]


def record(rom: Rom) -> Record:
    """Everything that is known about a ROM."""
    out: Record = {
        "size": len(rom.data),
        "sha256": rom.sha256,
        "container": rom.container.kind.value if rom.container else None,
        "rom_offset": rom.rom_offset,
        "rom_end": rom.rom_end,
    }
    if rom.container is not None:
        out.update(_container(rom.container))
    out["images"] = [_image(image) for image in rom.images]
    out["pcir_chain"] = _chain(rom.pcir_chain)
    out["npde_chain"] = _chain(rom.npde_chain)
    out["tail"] = [_tail_part(part) for part in rom.tail or ()]
    legacy = rom.legacy
    if legacy is not None:
        out.update(_vendor(legacy))
    vbt = _first_vbt(rom)
    if vbt is not None:
        out["vbt_offset"] = vbt
    return out


def _container(container: Container) -> Record:
    out: Record = {}
    if container.version is not None:
        out["container_version"] = container.version
    if container.rom_length is not None:
        out["rom_length"] = container.rom_length
    if container.subsystem is not None:
        out["container_subsystem"] = _ids(container.subsystem)
    if container.vfct_images:
        out["vfct_images"] = [
            {
                "offset": i.offset,
                "rom_offset": i.rom_offset,
                "image_length": i.image_length,
                "address": f"{i.pci_bus:02x}:{i.pci_device:02x}.{i.pci_function:x}",
                "vendor": f"{i.vendor_id:04x}",
                "device": f"{i.device_id:04x}",
                "subsystem": _ids((i.subsystem_vendor_id, i.subsystem_id)),
            }
            for i in container.vfct_images
        ]
    if container.problem:
        out["container_problem"] = container.problem
    return out


def _image(image: OptionRom) -> Record:
    pcir = image.pcir
    out: Record = {
        "offset": image.offset,
        "size": image.size,
        "image_length": pcir.image_length,
        "signature": image.signature.hex(),
        "structure": pcir.signature.decode("ascii"),
        "structure_offset": pcir.offset,
        "structure_length": pcir.structure_length,
        "vendor": f"{pcir.vendor_id:04x}",
        "device": f"{pcir.device_id:04x}",
        "class_code": f"{pcir.class_code:06x}",
        "revision": pcir.structure_revision,
        "vendor_rom_revision": pcir.vendor_rom_revision,
        "code_type": pcir.code_type,
        "last": pcir.last,
        "truncated": image.truncated,
        "initialization_size": image.initialization_size,
        "sum8": image.sum8,
    }
    if image.device_list:
        out["device_list"] = [f"{device:04x}" for device in image.device_list]
    if pcir.max_runtime_image_length is not None:
        out["max_runtime_image_length"] = pcir.max_runtime_image_length
    if image.npde is not None:
        out["npde"] = _npde(image.npde)
    if image.efi is not None:
        out["efi"] = _efi(image.efi)
    return out


def _npde(npde: Npde) -> Record:
    out: Record = {
        "offset": npde.offset,
        "revision": npde.revision,
        "length": npde.length,
        "subimage_length": npde.subimage_length,
        "last": npde.last,
    }
    if npde.flags is not None:
        out["flags"] = npde.flags
    if npde.gop_version is not None:
        out["gop_version"] = f"{npde.gop_version:08x}"
    if npde.subsystem is not None:
        out["subsystem"] = _ids(npde.subsystem)
    return out


def _efi(efi: EfiDriver) -> Record:
    out: Record = {
        "signature_ok": efi.signature_ok,
        "subsystem": efi.subsystem,
        "machine": f"{efi.machine:04x}",
        "machine_name": efi.machine_name,
        "compression": efi.compression,
        "initialization_size": efi.initialization_size,
        "image_offset": efi.image_offset,
        "gop_role": efi.gop_role.value,
    }
    if efi.decompresses is not None:
        out["decompresses"] = efi.decompresses
    if efi.undecodable:
        out["undecodable"] = efi.undecodable
    if efi.pe is not None:
        out["pe_size"] = len(efi.pe)
        out["pe_sha256"] = efi.pe_sha256
    if efi.gop is not None:
        out["gop"] = {
            "vendor": efi.gop.vendor,
            "version": efi.gop.version,
            "family": efi.gop.family,
            "description": efi.gop.description,
        }
        if efi.gop.vendor == "AMD" and efi.gop.description:
            out["amd_gop"] = efi.gop.description
    if efi.signed is not None:
        out["signed"] = efi.signed
    if efi.signatures:
        out["digest_ok"] = efi.digest_ok
        out["signatures"] = [_signature(s) for s in efi.signatures]
    return out


def _signature(signature: Signature) -> Record:
    def hexed(digest: bytes | None) -> str | None:
        return None if digest is None else digest.hex()

    return {
        "digest_algorithm": signature.digest_algorithm,
        "signed_digest": hexed(signature.signed_digest),
        "computed_digest": hexed(signature.computed_digest),
        "digest_ok": signature.digest_ok,
        "signer": signature.signer,
        "issuing_ca": signature.issuing_ca,
        "ca_not_after": signature.ca_not_after.isoformat() if signature.ca_not_after else None,
    }


def _chain(chain: Chain) -> Record:
    return {
        "offsets": [image.offset for image in chain],
        "end": chain.end.name.lower(),
        "end_offset": chain.end_offset,
    }


def _tail_part(part: TailPart) -> Record:
    out: Record = {"kind": part.kind.value, "offset": part.offset, "size": part.size}
    for key in ("fill", "rom_offset", "identical"):
        if getattr(part, key) is not None:
            out[key] = getattr(part, key)
    return out


def _vendor(legacy: OptionRom) -> Record:
    out: Record = {"oem_string": legacy.oem_string}
    nvidia, atom, vbt = legacy.nvidia, legacy.atom, legacy.vbt
    if nvidia is not None:
        if nvidia.version is not None:
            out["nvidia_version"] = nvidia.version
        out["nvidia"] = {
            "family": nvidia.family,
            "build_date": nvidia.build_date,
            "product": nvidia.product,
            "board": nvidia.board,
            "subsystem": _ids(nvidia.subsystem) if nvidia.subsystem else None,
            "sign_on": nvidia.sign_on,
            "bit_offset": legacy.offset + nvidia.bit.offset,
            "bit_tokens": [t.id for t in nvidia.bit.tokens],
        }
    if atom is not None:
        out["atom"] = {
            "subsystem": _ids(atom.subsystem),
            "date": atom.date,
            "part_number": atom.part_number,
            "strings": list(atom.strings),
        }
    if vbt is not None:
        out["vbt"] = {
            "offset": vbt.offset,
            "platform": vbt.platform,
            "version": vbt.version,
            "size": vbt.vbt_size,
        }
    return out


def _first_vbt(rom: Rom) -> int | None:
    from romkit.vendor.intel import find_vbt

    vbt = find_vbt(rom.data)
    return None if vbt is None else vbt.offset


def _ids(pair: tuple[int, int]) -> str:
    return f"{pair[0]:04x}:{pair[1]:04x}"
