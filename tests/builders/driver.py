"""Programs of a few bytes that say, through an I/O port, that firmware has started them.

Machine code written by hand. `MARKS` and `EXIT` are ports that no firmware uses; QEMU's
isa-debugcon and isa-debug-exit listen there.
"""

from __future__ import annotations

import struct

from builders.pe import build_pe
from builders.rom import image, pcir

MARKS = 0x505
PATHS = 0x506
EXIT = 0x501

#: What is written to `EXIT`; QEMU's own exit status is twice that, plus one.
EXIT_VALUE = 0x10
EXIT_STATUS = 2 * EXIT_VALUE + 1

IA32, X64, AA64, EBC = 0x14C, 0x8664, 0xAA64, 0xEBC

#: Where the code of an x86 image stands: behind its PCIR.
X86_CODE = 0x60


def _out_exit() -> bytes:
    return struct.pack("<BBHBBB", 0x66, 0xBA, EXIT, 0xB0, EXIT_VALUE, 0xEE)  # mov dx; mov al; out


def x64_code(mark: str, *, leave: bool = False) -> bytes:
    """64-bit code that writes `mark` and a newline, and returns EFI_SUCCESS.

    Args:
        mark: ASCII.
        leave: end the virtual machine in place of returning.
    """
    text = mark.encode("ascii") + b"\n"
    rest = b"\xb9" + struct.pack("<I", len(text))  # mov ecx, length
    rest += struct.pack("<BBH", 0x66, 0xBA, MARKS)  # mov dx, port
    rest += b"\xfc\xf3\x6e"  # cld; rep outsb
    rest += _out_exit() if leave else b""
    rest += b"\x5e\x31\xc0\xc3"  # pop rsi; xor eax, eax; ret
    # push rsi; lea rsi, [rip + text]
    return b"\x56\x48\x8d\x35" + struct.pack("<I", len(rest)) + rest + text


def x64_driver(mark: str, *, machine: int = X64, subsystem: int = 0x0B, size: int = 0) -> bytes:
    """A PE32+ image that writes `mark`; its only section is filled up to `size` bytes."""
    code = x64_code(mark).ljust(size, b"\0")
    return build_pe(code, machine=machine, subsystem=subsystem, names=(b".text",))


#: bc62157e-3e33-4fec-9920-2d3b36d750df (UEFI specification 2.10, 9.2).
LOADED_IMAGE_DEVICE_PATH = struct.pack(
    "<IHH8B", 0xBC62157E, 0x3E33, 0x4FEC, *bytes.fromhex("99202d3b36d750df")
)

#: Asks for all handles with a device path of a loaded image, and writes each path to `PATHS`.
#: Goes on behind the GUID, which follows the code.
_LIST_IMAGES = (
    bytes.fromhex(
        "53 56 57 41 54"  #           push rbx, rsi, rdi, r12
        "48 83 ec 48"  #              sub rsp, 0x48
        "48 8b 5a 60"  #              mov rbx, [rdx+0x60]        SystemTable->BootServices
        "b9 02 00 00 00"  #           mov ecx, 2                 ByProtocol
        "48 8d 15 66 00 00 00"  #     lea rdx, [rip+guid]
        "45 31 c0"  #                 xor r8d, r8d
        "4c 8d 4c 24 28"  #           lea r9, [rsp+0x28]         count
        "48 8d 44 24 30"  #           lea rax, [rsp+0x30]        array of handles
        "48 89 44 24 20"  #           mov [rsp+0x20], rax
        "ff 93 38 01 00 00"  #        call [rbx+0x138]           LocateHandleBuffer
        "48 85 c0 75 59"  #           test rax, rax; jnz done
        "48 8b 7c 24 30"  #           mov rdi, [rsp+0x30]
        "4c 8b 64 24 28"  #           mov r12, [rsp+0x28]
        "49 ff cc 78 4a"  #     next: dec r12; js done
        "48 8b 0f 48 83 c7 08"  #     mov rcx, [rdi]; add rdi, 8
        "48 8d 15 2c 00 00 00"  #     lea rdx, [rip+guid]
        "4c 8d 44 24 38"  #           lea r8, [rsp+0x38]         device path
        "ff 93 98 00 00 00"  #        call [rbx+0x98]            HandleProtocol
        "48 85 c0 75 dd"  #           test rax, rax; jnz next
        "48 8b 74 24 38"  #           mov rsi, [rsp+0x38]
        "48 85 f6 74 d3"  #           test rsi, rsi; jz next     loaded from memory
        "8a 06"  #              node: mov al, [rsi]              type
        "0f b7 4e 02"  #              movzx ecx, word [rsi+2]    length
        "66 ba"  #                    mov dx, PATHS
    )
    + struct.pack("<H", PATHS)
    + bytes.fromhex(
        "f3 6e"  #                    rep outsb
        "3c 7f 75 f0 eb c1"  #        cmp al, 0x7f; jne node; jmp next
    )
    + LOADED_IMAGE_DEVICE_PATH
)


def x64_end(mark: str) -> bytes:
    """An EFI application that lists the loaded images, writes `mark` and ends the machine.

    The list is the device paths of all images, one behind the other, on port `PATHS`. The file
    is long enough for QEMU's ``-kernel``, which takes the first 2560 bytes for a boot sector and
    a set-up.
    """
    code = _LIST_IMAGES + x64_code(mark, leave=True)
    return build_pe(code, subsystem=0x0A, names=(b".text",)).ljust(4096, b"\0")


def ebc_driver(mark: str) -> bytes:
    """An EFI byte code image. Byte code has no ports, so it calls the 64-bit code behind it."""
    # XOR64 R7, R7; RET (the value returned is R7).
    rest = b"\x56\x77\x04\x00"
    # CALL32EX to native code, relative to the next instruction.
    code = b"\x83\x30" + struct.pack("<i", len(rest)) + rest + x64_code(mark)
    return build_pe(code, machine=EBC, names=(b".text",))


def x86_image(
    mark: str,
    structure: bytes | None = None,
    *,
    blocks: int = 2,
    size_byte: int | None = None,
    fix_sum: bool = True,
    pnp: bool = False,
    leave: bool = False,
) -> bytes:
    """A legacy image whose entry point writes `mark` and a newline in real mode, and returns.

    Args:
        mark: ASCII.
        structure: its PCIR; by default of QEMU's standard VGA device, two blocks, last.
        blocks: length in blocks of 512 bytes.
        size_byte: the byte at +2, if it is not `blocks`.
        fix_sum: make all `blocks` sum to zero.
        pnp: add a PnP expansion header: devices that are no VGA are started only with one.
        leave: end the virtual machine in place of returning.
    """
    text = mark.encode("ascii") + b"\n"
    rest = b"\xb9" + struct.pack("<H", len(text))  # mov cx, length
    rest += b"\xba" + struct.pack("<H", MARKS)  # mov dx, port
    rest += b"\xfc\x2e\xf3\x6e"  # cld; cs rep outsb
    if leave:
        rest += b"\xba" + struct.pack("<H", EXIT) + bytes([0xB0, EXIT_VALUE, 0xEE])
    rest += b"\xcb"  # retf
    code = b"\xbe" + struct.pack("<H", X86_CODE + 3 + len(rest)) + rest + text  # mov si, text
    body = {3: bytes([0xEB, X86_CODE - 5]), X86_CODE: code}  # jmp short
    if pnp:
        at = X86_CODE + len(code) + 15 & ~15
        header = bytearray(struct.pack("<4sBBHBB22x", b"$PnP", 1, 2, 0, 0, 0))
        header[9] = -sum(header) & 0xFF
        body |= {0x1A: struct.pack("<H", at), at: bytes(header)}
    return image(
        pcir(vendor=0x1234, device=0x1111, blocks=blocks) if structure is None else structure,
        blocks=blocks,
        size_byte=size_byte,
        fix_sum=fix_sum,
        body=body,
    )
