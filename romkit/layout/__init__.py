"""Byte layouts in the specifications' own field names, and the one lens that applies them.

Only fixed-size integers, ``Bytes`` and ``Const`` are used: every byte of a structure has a name,
so ``layout.build(layout.parse(b)) == b``. Padding, FlagsEnum, Flag, Pointer and GreedyRange lose
or invent data and are banned (a test checks it). Offsets are computed and bounds-checked by the
readers, never by the layouts.
"""
