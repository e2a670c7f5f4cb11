"""What generated code may use, and how it is said that it went wrong."""

from dataclasses import dataclass

from curator.errors import CuratorError


class Failure(CuratorError):
    """Why generated code was stopped or refused, in words fit to be sent back to whoever wrote it.

    Attributes:
        kind: policy, syntax, exception, timeout, memory, output, not-text, or died.
    """

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What generated code may use.

    Attributes:
        seconds: wall-clock time for one text, and for running the module.
        cpu_seconds: of a whole process.
        memory_bytes: address space.
        text_bytes: longest text, in UTF-8.
    """

    seconds: float = 10.0
    cpu_seconds: int = 3600
    memory_bytes: int = 1 << 30
    text_bytes: int = 4 << 20
