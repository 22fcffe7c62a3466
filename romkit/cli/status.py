"""Exit statuses, the same for every command."""

FINE = 0
#: A finding blocks, or files differ.
BLOCKED = 1
USAGE = 2
#: Unreadable or bad input, or an output that cannot be written.
BAD_INPUT = 3
#: What shells add to the number of the signal that ended a program; SIGINT and SIGPIPE.
SIGNALLED = 128
INTERRUPTED = 130
READER_GONE = 141
