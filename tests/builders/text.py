"""What regedit and acpidump print. Nothing here uses romkit."""

from __future__ import annotations


def acpidump(table: bytes, *, wide: bool = False) -> str:
    """As ACPICA's acpidump prints a table."""
    out = f"{table[:4].decode()} @ 0x00000000BA8F2000\n"
    for at in range(0, len(table), 16):
        row = table[at : at + 16]
        digits = " ".join(f"{byte:02X}" for byte in row)
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        out += f"    {at:0{8 if wide else 4}X}: {digits:<47}  {text}\n"
    return out + "\n"


def exported(rom: bytes, *, name: str = "vbios", kind: str = "hex") -> str:
    """As regedit writes a value: 80 columns, a backslash where a line goes on."""
    lines, line = [], f'"{name}"={kind}:'
    for number, byte in enumerate(rom):
        line += f"{byte:02x}" + ("," if number < len(rom) - 1 else "")
        if len(line) > 76 and number < len(rom) - 1:
            lines.append(line + "\\")
            line = "  "
    lines.append(line)
    return "\r\n".join(lines)


def registry_text(*values: tuple[str, str]) -> str:
    """An exported text with these (key, value as `exported` gives it), and others around."""
    keys = "\r\n\r\n".join(
        f'[{key}]\r\n"Before"="text with [brackets]"\r\n{value}\r\n"After"=dword:00000001'
        for key, value in values
    )
    return f"Windows Registry Editor Version 5.00\r\n\r\n{keys}\r\n\r\n"
