"""Captures: a machine's files and answers in one archive that can be mailed and read again."""

from __future__ import annotations

from diag.capture.capture import Capture
from diag.capture.manifest import archive_capture, open_capture, parse_capture
from diag.capture.take import read_capture

__all__ = ["Capture", "archive_capture", "open_capture", "parse_capture", "read_capture"]
