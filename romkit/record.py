"""A ROM as plain JSON types: what ``romkit parse --json`` prints, and a catalogue stores.

Lengths and offsets are bytes as numbers; ids, classes and versions are hex digits as lspci
prints them. Keys are only added over time, never renamed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from romkit.chain import Chain
from romkit.container import Container
from romkit.efi.driver import EfiDriver
from romkit.efi.known_ca import known_ca_not_after
from romkit.efi.pe import PeFacts
from romkit.efi.signature import Signature
from romkit.entries import Entry, vfct_entries
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
        out.update(_container(rom.container, vfct_entries(rom)))
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


def _container(container: Container, entries: tuple[Entry, ...]) -> Record:
    out: Record = {}
    if container.version is not None:
        out["container_version"] = container.version
    if container.rom_length is not None:
        out["rom_length"] = container.rom_length
    if container.subsystem is not None:
        out["container_subsystem"] = _ids(container.subsystem)
    if container.vfct_images:
        out["vfct_images"] = [_entry(entry) for entry in entries]
    if container.problem:
        out["container_problem"] = container.problem
    return out


def _entry(entry: Entry) -> Record:
    own = entry.header
    out: Record = {
        "offset": own.offset,
        "rom_offset": own.rom_offset,
        "image_length": own.image_length,
        "address": f"{own.pci_bus:02x}:{own.pci_device:02x}.{own.pci_function:x}",
        "vendor": f"{own.vendor_id:04x}",
        "device": f"{own.device_id:04x}",
        "subsystem": _ids((own.subsystem_vendor_id, own.subsystem_id)),
        "revision": own.revision,
    }
    rom = entry.rom
    if rom is not None:
        out["images"] = [_image(image, entry.base) for image in rom.images]
        out["pcir_chain"] = _chain(rom.pcir_chain, entry.base)
        if rom.legacy is not None:
            out.update(_vendor(rom.legacy, entry.base))
    return out


def _image(image: OptionRom, base: int = 0) -> Record:
    """An image; `base` is added to its offsets, so that they count from the start of the file."""
    pcir = image.pcir
    out: Record = {
        "offset": base + image.offset,
        "size": image.size,
        "image_length": pcir.image_length,
        "signature": image.signature.hex(),
        "structure": pcir.signature.decode("ascii"),
        "structure_offset": base + pcir.offset,
        "structure_length": pcir.structure_length,
        "vendor": f"{pcir.vendor_id:04x}",
        "device": f"{pcir.device_id:04x}",
        "class_code": f"{pcir.class_code:06x}",
        "revision": pcir.structure_revision,
        "vendor_rom_revision": pcir.vendor_rom_revision,
        "code_type": pcir.code_type,
        "indicator": pcir.indicator,
        "device_list_pointer": pcir.device_list_pointer,
        "last": pcir.last,
        "truncated": image.truncated,
        "initialization_size": image.initialization_size,
        "sum8": image.sum8,
    }
    if image.device_list:
        out["device_list"] = [f"{device:04x}" for device in image.device_list]
    if pcir.max_runtime_image_length is not None:
        out["max_runtime_image_length"] = pcir.max_runtime_image_length
    for key in ("config_utility_code_header_pointer", "dmtf_clp_entry_point_pointer"):
        if getattr(pcir, key) is not None:
            out[key] = getattr(pcir, key)
    if image.npde is not None:
        out["npde"] = _npde(image.npde, base)
    if image.efi is not None:
        out["efi"] = _efi(image.efi)
    return out


def _npde(npde: Npde, base: int) -> Record:
    out: Record = {
        "offset": base + npde.offset,
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
        out["too_large"] = efi.too_large
    if efi.pe is not None:
        out["pe_size"] = len(efi.pe)
        out["pe_sha256"] = efi.pe_sha256
    if efi.facts is not None:
        out["pe"] = _pe(efi.facts)
    if efi.scheme is not None:
        out["compression_scheme"] = efi.scheme.name.lower()
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


def _pe(facts: PeFacts) -> Record:
    return {
        "machine": f"{facts.machine:04x}",
        "machine_name": facts.machine_name,
        "subsystem": facts.subsystem,
        "pe32_plus": facts.pe32_plus,
        "time_date_stamp": facts.time_date_stamp,
        "entry_point": facts.entry_point,
        "size_of_image": facts.size_of_image,
        "check_sum": facts.check_sum,
        "pdb": facts.pdb,
        "sections": [
            {
                "name": section.name,
                "virtual_address": section.virtual_address,
                "virtual_size": section.virtual_size,
                "offset": section.offset,
                "size": section.size,
            }
            for section in facts.sections
        ],
    }


def _signature(signature: Signature) -> Record:
    def hexed(digest: bytes | None) -> str | None:
        return None if digest is None else digest.hex()

    def day(time: datetime | None) -> str | None:
        return None if time is None else time.isoformat()

    return {
        "digest_algorithm": signature.digest_algorithm,
        "signed_digest": hexed(signature.signed_digest),
        "computed_digest": hexed(signature.computed_digest),
        "digest_ok": signature.digest_ok,
        "signer": signature.signer,
        "issuing_ca": signature.issuing_ca,
        "ca_not_after": day(signature.ca_not_after),
        # Not from the file: what is known of the authority of that name.
        "known_ca_not_after": day(known_ca_not_after(signature.issuing_ca)),
        "certificates": [
            {
                "subject": certificate.subject,
                "issuer": certificate.issuer,
                "serial": f"{certificate.serial:x}",
                "not_before": day(certificate.not_before),
                "not_after": day(certificate.not_after),
            }
            for certificate in signature.certificates
        ],
    }


def _chain(chain: Chain, base: int = 0) -> Record:
    return {
        "offsets": [base + image.offset for image in chain],
        "end": chain.end.name.lower(),
        "end_offset": base + chain.end_offset,
    }


def _tail_part(part: TailPart) -> Record:
    out: Record = {"kind": part.kind.value, "offset": part.offset, "size": part.size}
    for key in ("fill", "rom_offset", "identical"):
        if getattr(part, key) is not None:
            out[key] = getattr(part, key)
    if part.rom is not None:
        out["images"] = [_short(image, part.offset) for image in part.rom.images]
        legacy = part.rom.legacy
        if legacy is not None and legacy.nvidia is not None:
            out["nvidia_version"] = legacy.nvidia.version
    return out


def _short(image: OptionRom, base: int) -> Record:
    """An image of another ROM in the tail, in a few words."""
    pcir = image.pcir
    return {
        "offset": base + image.offset,
        "size": image.size,
        "vendor": f"{pcir.vendor_id:04x}",
        "device": f"{pcir.device_id:04x}",
        "class_code": f"{pcir.class_code:06x}",
        "code_type": pcir.code_type,
        "last": pcir.last,
    }


def _vendor(legacy: OptionRom, base: int = 0) -> Record:
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
            "modification_date": nvidia.modification_date,
            "build_number": nvidia.build_number,
            "board_id": nvidia.board_id,
            "chip_sku": nvidia.chip_sku,
            "printed_version": nvidia.printed_version,
            "copyright": nvidia.copyright,
            "oem_string": nvidia.oem_string,
            "oem_vendor": nvidia.oem_vendor,
            "oem_product": nvidia.oem_product,
            "oem_revision": nvidia.oem_revision,
            "bit_offset": base + legacy.offset + nvidia.bit.offset,
            "bit_tokens": [t.id for t in nvidia.bit.tokens],
        }
    if atom is not None:
        out["atom"] = {
            "subsystem": _ids(atom.subsystem),
            "date": atom.date,
            "part_number": atom.part_number,
            "strings": list(atom.strings),
            "header_revision": (
                f"{atom.rom_header.table_format_revision}.{atom.rom_header.table_content_revision}"
            ),
            "version": atom.version,
            "bootup_message": atom.bootup_message,
            "config_filename": atom.config_filename,
            "build": atom.build,
            "copyright": atom.copyright,
        }
    if vbt is not None:
        out["vbt"] = {
            "offset": base + vbt.offset,
            "platform": vbt.platform,
            "version": vbt.version,
            "size": vbt.vbt_size,
            "checksum_ok": vbt.checksum_ok,
            "bdb_version": vbt.bdb_version,
            "build_number": vbt.build_number,
            "sign_on": vbt.sign_on,
            "copyright": vbt.copyright,
        }
    return out


def _first_vbt(rom: Rom) -> int | None:
    from romkit.vendor.intel import find_vbt

    vbt = find_vbt(rom.data)
    return None if vbt is None else vbt.offset


def _ids(pair: tuple[int, int]) -> str:
    return f"{pair[0]:04x}:{pair[1]:04x}"
