"""Terms of AML for tests: one of each kind, and trees that hypothesis makes up."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from romkit.acpi import aml as a

DEVICE = r"\_SB.PCI0.S08.S00"

_CRS = a.ResourceTemplate(
    [
        a.IO(0x10, 0x20, 1, 2),
        a.IO(0x10, 0x20, 1, 2, decode16=False),
        a.FixedIO(0x20, 3),
        a.IRQ((1, 3), level=True, active_low=True, shared=True),
        a.IRQNoFlags((1, 5)),
        a.Interrupt((16, 17), active_low=True, shared=True),
        a.Interrupt((20,), level=False, consumer=False),
        a.DMA((1, 3), "TypeA", True, "Transfer16"),
        a.Memory32Fixed(0xFED00000, 0x1000),
        a.Memory32(0, 0x1000000, 0x10, 0x100, False),
        a.Window(a.Space.SystemMemory, 4, 0xC0000000, 0xCFFFFFFF),
        a.Window(a.Space.SystemMemory, 8, 0x100000000, 0x1FFFFFFFF, True, False),
        a.Window(a.Space.SystemIO, 2, 0x1000, 0x1FFF),
        a.Window(a.Space.SystemIO, 4, 0x1000, 0x1FFF),
        a.Window(a.Space.SystemIO, 8, 0x1000, 0x1FFF, producer=False),
        a.Window(None, 2, 0, 0xFF),
        a.Window(a.Space.SystemMemory, 4, 0x1000, 0x8FFF, length=0x2000, granularity=0xFFF),
        a.Window(a.Space.SystemIO, 2, 0x1000, 0x1FFF, length=0),
        a.Register(a.Space.SystemIO, 8, 0, 0x400, 1),
        a.Register(a.Space.FFixedHW, 1, 2, 0, 4),
    ]
)


def _work() -> a.Method:
    """A method with one of each opcode."""
    counter, buffer = a.Local(0), a.Local(1)
    two = (a.Add, a.Subtract, a.Multiply, a.Mod, a.ShiftLeft, a.ShiftRight)
    bits = (a.And, a.Nand, a.Or, a.Nor, a.Xor)
    one = (a.Not, a.FindSetLeftBit, a.FindSetRightBit, a.ToInteger, a.FromBCD, a.ToBCD)
    compare = (a.LEqual, a.LNotEqual, a.LLess, a.LLessEqual, a.LGreater, a.LGreaterEqual)
    texts = (a.ToBuffer, a.ToDecimalString, a.ToHexString)
    fields = [
        a.CreateBitField(buffer, 9, "YBIT"),
        a.CreateByteField(buffer, 0, "YBYT"),
        a.CreateWordField(buffer, 2, "YWRD"),
        a.CreateDWordField(buffer, 2, "YDWR"),
        a.CreateQWordField(buffer, 2, "YQWR"),
        a.CreateField(buffer, 2, 3, "YFLD"),
    ]
    calls: list[a.Term] = [a.Store(op(counter, a.Arg(1)), a.Debug()) for op in two + bits]
    calls += [op(counter, 3, counter) for op in two + bits]
    calls += [a.Store(op(counter), a.Debug()) for op in one + texts]
    calls += [a.Store(op(counter, 3), a.Debug()) for op in compare]
    loop = a.While(
        a.LAnd(a.LNot(counter), a.LOr(a.CondRefOf("XBUF"), a.CondRefOf(r"\_SB", a.Local(2)))),
        [
            a.Increment(counter),
            a.Decrement(counter),
            a.If(a.LEqual(counter, a.Ones()), [a.Break()]),
            a.If(a.LNotEqual(counter, 7), [a.Continue()], [a.Noop()]),
        ],
    )
    return a.Method(
        "XWRK",
        2,
        [
            a.Store(a.Arg(0), counter),
            a.Store(a.Buffer(size=counter), buffer),
            *fields,
            *calls,
            a.Divide(counter, 3, None, counter),
            a.Divide(counter, 3, counter, None),
            a.Divide(counter, 3, a.Local(3), a.Local(4)),
            a.Store(a.Add(a.Local(3), a.Local(4)), a.Debug()),
            loop,
            a.Store(a.DerefOf(a.Index(a.Ref("XPKG"), 3)), a.Index(buffer, 0)),
            a.Store(a.DerefOf(a.Local(2)), a.Debug()),
            a.Store(a.DerefOf(a.RefOf("XBUF")), a.Debug()),
            a.Notify(r"\_SB.PCI0", 0x80),
            a.Sleep(10),
            a.Stall(10),
            a.Acquire("XMTX"),
            a.Release("XMTX"),
            a.Signal("XEVT"),
            a.Reset("XEVT"),
            a.If(a.Wait("XEVT", 5), [a.Return(a.Timer())]),
            a.Store(a.Match(a.Ref("XPKG"), a.MatchOp.MEQ, 3, a.MatchOp.MTR, 0, 0), a.Debug()),
            a.Store(a.Call("XADD", (1, a.Add(1, counter))), a.Debug()),
            a.Store(a.SizeOf("XBUF"), a.Debug()),
            a.Store(a.ObjectType("XBUF"), a.Debug()),
            a.CopyObject(a.ToString(buffer, 4), buffer),
            a.Store(a.ConcatenateResTemplate(a.Ref("XCRS"), a.Ref("XCRS")), a.Debug()),
            a.Return(a.Mid(a.Concatenate(buffer, "x"), 1, 2)),
        ],
        serialized=True,
        sync_level=4,
    )


def every_term() -> a.DefinitionBlock:
    """A table with one of each kind of term."""
    return a.DefinitionBlock(
        "EVERY",
        [
            a.External(r"\_SB.PCI0", a.ObjectKind.DeviceObj, opcode=True),
            a.Scope(
                r"\_SB.PCI0",
                [
                    a.Name("XBUF", b"abc"),
                    a.Name("XPAD", a.Buffer(b"abc", 300)),
                    a.Name("XPKG", [0, 1, 2, 0xFFFFFFFF, 'a"b\\c\x01', [1, b"\0"], a.Ref("XBUF")]),
                    a.Name("XMTY", a.Package((), 3)),
                    a.Name("_HID", a.EisaId("PNP0C0A")),
                    a.Name("XUID", a.Uuid("A486D8F8-0BDA-471B-A72B-6042A6B5BEE0")),
                    a.Name("XCRS", _CRS),
                    a.OperationRegion("XREG", a.Space.SystemIO, 0x510, 16),
                    a.Field(
                        "XREG",
                        a.Access.ByteAcc,
                        [
                            a.Bits("XAAA", 8),
                            a.Bits("", 3),
                            a.Offset(2),
                            a.AccessAs(a.Access.WordAcc),
                            a.Bits("XBBB", 2),
                            a.AccessAs(a.Access.BufferAcc, 6),
                            a.Bits("XEEE", 8),
                        ],
                        a.Lock.Lock,
                        a.Update.WriteAsOnes,
                    ),
                    a.IndexField("XAAA", "XBBB", a.Access.ByteAcc, [a.Bits("XCCC", 8)]),
                    a.BankField("XREG", "XAAA", 3, a.Access.ByteAcc, [a.Bits("XDDD", 70)]),
                    a.Mutex("XMTX", 3),
                    a.Event("XEVT"),
                    a.Alias("XPKG", "XALI"),
                    a.PowerResource(
                        "XPWR",
                        1,
                        2,
                        [
                            a.Method("_STA", 0, [a.Return(1)]),
                            a.Method("_ON", 0, [a.Noop()]),
                            a.Method("_OFF", 0, []),
                        ],
                    ),
                    a.ThermalZone("XTHZ", [a.Method("_TMP", 0, [a.Return(3000)])]),
                    a.Device("XDEV", [a.Name("_ADR", 0)]),
                    a.Method("XADD", 2, [a.Return(a.Add(a.Arg(0), a.Arg(1)))]),
                    _work(),
                ],
            ),
        ],
    )


# Section: what hypothesis makes up

names = st.from_regex(r"X[A-Z0-9_]{2}[A-Z0-9]", fullmatch=True)
integers = st.one_of(
    st.integers(0, 300), st.integers(0, 0xFFFFFFFF), st.sampled_from([0xFF, 0xFFFF, 0x10000])
)
_texts = st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=40)
_leaves = st.one_of(integers, _texts, st.binary(min_size=1, max_size=300))
constants = st.recursive(
    _leaves, lambda inner: st.lists(inner, min_size=1, max_size=6), max_leaves=12
)
_locals = st.builds(a.Local, st.integers(0, 7))
_operands = st.one_of(integers.map(a.Integer), _locals, st.builds(a.Arg, st.integers(0, 1)))


def _deeper(inner: st.SearchStrategy[a.Expression]) -> st.SearchStrategy[a.Expression]:
    arithmetic = (a.Add, a.Subtract, a.Multiply, a.Mod, a.ShiftLeft, a.ShiftRight)
    bits = (a.And, a.Nand, a.Or, a.Nor, a.Xor)
    logic = (a.LAnd, a.LOr, a.LEqual, a.LNotEqual, a.LLess, a.LLessEqual, a.LGreater)
    two = st.sampled_from((*arithmetic, *bits, *logic, a.LGreaterEqual))
    one = st.sampled_from([a.Not, a.FindSetLeftBit, a.FindSetRightBit, a.ToInteger, a.LNot])
    return st.one_of(
        st.builds(lambda op, left, right: op(left, right), two, inner, inner),
        st.builds(lambda op, value: op(value), one, inner),
        st.builds(a.Divide, inner, inner, st.none(), _locals),
        st.builds(a.Add, inner, inner, _locals),
    )


expressions = st.recursive(_operands, _deeper, max_leaves=6)


def _blocks(inner: st.SearchStrategy[a.Term]) -> st.SearchStrategy[a.Term]:
    body = st.lists(inner, min_size=1, max_size=4)
    return st.one_of(
        st.builds(a.If, expressions, body, st.one_of(st.just(()), body)),
        st.builds(a.While, expressions, body),
    )


statements = st.recursive(st.builds(a.Store, expressions, _locals), _blocks, max_leaves=8)


def _method(name: str, body: Sequence[a.Term]) -> a.Method:
    # Every variable is set before, and every variable and argument used at the end: iasl warns
    # of those that are not.
    before = [a.Store(a.Arg(number % 2), a.Local(number)) for number in range(8)]
    after = [a.Store(a.Local(number), a.Debug()) for number in range(8)]
    return a.Method(name, 2, [*before, *body, *after], serialized=True)


def _held(kind: str, name: str, value: object, body: list[a.Term]) -> a.Term:
    if kind == "name":
        return a.Name(name, value)  # type: ignore[arg-type]  # hypothesis knows no types
    return _method(name, body) if kind == "method" else a.Device(name, [a.Name("_ADR", len(body))])


terms = st.builds(
    _held,
    st.sampled_from(["name", "method", "device"]),
    names,
    constants,
    st.lists(statements, max_size=4),
)
tables = st.lists(terms, min_size=1, max_size=6, unique_by=lambda term: term.path).map(
    lambda body: a.DefinitionBlock("MADEUP", [a.Scope(r"\_SB", body)])
)


def dsdt(*, device: bool = True) -> bytes:
    """A DSDT of revision 1, as QEMU's, with a root port and perhaps the device behind it."""
    behind = [a.Device("S00", [a.Name("_ADR", 0)])] if device else []
    port = a.Device("S08", [a.Name("_ADR", 0x10000), *behind])
    root = a.Device("PCI0", [a.Name("_HID", a.EisaId("PNP0A08")), port])
    body = [a.Scope(r"\_SB", [root])]
    return bytes(a.DefinitionBlock("DSDT", body, signature="DSDT", revision=1))
