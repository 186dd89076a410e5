"""A header block: while its frames are read, and once it is decoded (RFC 9113 section 4.3)."""

from typing import Any

from userservice.wire.http2.budget import Budgets
from userservice.wire.http2.codes import ErrorCode
from userservice.wire.http2.errors import ProtocolError
from userservice.wire.http2.headers import ODD, Fields, Kind, check


class HeldBlock:
    """A header block of which CONTINUATION frames are still to come (section 6.10)."""

    __slots__ = ("_budgets", "end_stream", "fragments", "size", "stream_id")

    def __init__(self, stream_id: int, end_stream: int, fragment: bytes, budgets: Budgets) -> None:
        self._budgets = budgets
        self.stream_id = stream_id
        self.end_stream = end_stream
        self.fragments = [fragment]
        self.size = len(fragment)

    def add(self, fragment: bytes) -> None:
        """Take the next fragment.

        Raises:
            ProtocolError: ENHANCE_YOUR_CALM; the block has no end.
        """
        self.fragments.append(fragment)
        self.size += len(fragment)
        most = self._budgets
        if self.size > most.block_bytes or len(self.fragments) > most.block_frames:
            raise ProtocolError(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"a header block of over {most.block_bytes} bytes or {most.block_frames} frames",
            )


class HeaderBlock:
    """A decoded header block.

    A block that comes again is the same object, so whatever is worked out from it once
    (whether it is well-formed; what the layer above makes of it) is there for every call.

    Args:
        fields: the fields in order; bytes that are not ASCII as Latin-1, which loses nothing.
        size: the sum of names, values and 32 for each field (RFC 9113 section 10.5.1), in bytes.
        shape: the marks of the fields, where they are known.
        oversized: the list was larger than allowed, and ``fields`` is only its start.
    """

    __slots__ = ("_problems", "_shape", "content_length", "fields", "meaning", "oversized", "size")

    def __init__(
        self, fields: Fields, size: int, shape: str = ODD, *, oversized: bool = False
    ) -> None:
        self._shape = shape
        self.fields = fields
        self.size = size
        self.oversized = oversized
        self.meaning: Any = None
        """Free for the layer above: what it made of these fields."""
        self.content_length: int | None = None
        """The bytes of data that the other side says will follow; of a block without problem."""
        self._problems: dict[Kind, str | None] = {}

    def problem(self, kind: Kind) -> str | None:
        """Return why this is no well-formed block of the kind, or None."""
        problem = self._problems.get(kind, "")
        if problem == "":  # not looked at yet
            problem, length = check(self.fields, kind, self._shape)
            if problem is None:
                self.content_length = length
            self._problems[kind] = problem
        return problem

    @property
    def is_interim(self) -> bool:
        """Whether a well-formed response is not the final one (RFC 9110 section 15.2)."""
        return self.fields[0][1][0] == "1"

    def get(self, name: str) -> str | None:
        """Return the first value of a field, or None."""
        return next((value for key, value in self.fields if key == name), None)
