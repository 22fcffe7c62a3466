"""What GPU vendors put into a legacy image: NVIDIA's BIT, AMD's ATOM, Intel's VBT.

Every reader takes bytes and answers with a value, or with None where the vendor's structure is
not there. None of them raises, whatever the bytes are: a pointer that leads nowhere makes the one
field that it feeds None.
"""
