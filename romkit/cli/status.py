"""Exit statuses, the same for every command."""

FINE = 0
#: A finding blocks, or files differ.
BLOCKED = 1
USAGE = 2
#: Unreadable or bad input, or an output that cannot be written.
BAD_INPUT = 3
#: What shells say of a program that SIGINT or SIGPIPE ended.
INTERRUPTED = 130
READER_GONE = 141
