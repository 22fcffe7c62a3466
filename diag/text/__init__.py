"""Text that people paste: what it is, and what it says about a machine.

Whatever the text, it is read: what nobody understands is left out, what it does not say is None.
"""
