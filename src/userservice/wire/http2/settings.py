"""What either side announces, and may change (RFC 9113 section 6.5)."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from userservice.wire.http2.codes import (
    FRAME_SIZE_MAX,
    FRAME_SIZE_MIN,
    TABLE_SIZE_DEFAULT,
    WINDOW_DEFAULT,
    WINDOW_MAX,
    ErrorCode,
    Setting,
)
from userservice.wire.http2.errors import ProtocolError

_UNLIMITED: Final = 2**32 - 1


class _Bounds(NamedTuple):
    """The values that a setting can have."""

    name: str
    least: int = 0
    most: int = _UNLIMITED
    error: ErrorCode = ErrorCode.PROTOCOL_ERROR


_BOUNDS: Final[dict[int, _Bounds]] = {
    Setting.HEADER_TABLE_SIZE: _Bounds("header_table_size"),
    Setting.ENABLE_PUSH: _Bounds("enable_push", most=1),
    Setting.MAX_CONCURRENT_STREAMS: _Bounds("max_concurrent_streams"),
    Setting.INITIAL_WINDOW_SIZE: _Bounds(
        "initial_window_size", most=WINDOW_MAX, error=ErrorCode.FLOW_CONTROL_ERROR
    ),
    Setting.MAX_FRAME_SIZE: _Bounds("max_frame_size", FRAME_SIZE_MIN, FRAME_SIZE_MAX),
    Setting.MAX_HEADER_LIST_SIZE: _Bounds("max_header_list_size"),
}


@dataclass(slots=True)
class Settings:
    """One side's settings; the defaults are those of section 6.5.2.

    Args:
        header_table_size: what a decoder keeps, in bytes.
        enable_push: 1 where a client takes pushed streams; we never do.
        max_concurrent_streams: how many streams the other side may open at a time.
        initial_window_size: the window that a new stream has, in bytes.
        max_frame_size: the largest frame that is taken, in bytes.
        max_header_list_size: the largest list of fields that is taken, in bytes.
    """

    header_table_size: int = TABLE_SIZE_DEFAULT
    enable_push: int = 1
    max_concurrent_streams: int = _UNLIMITED
    initial_window_size: int = WINDOW_DEFAULT
    max_frame_size: int = FRAME_SIZE_MIN
    max_header_list_size: int = _UNLIMITED

    def changes(self) -> dict[int, int]:
        """Return what is not the default, by the setting's number."""
        default = Settings()
        return {
            number: value
            for number, bounds in _BOUNDS.items()
            if (value := getattr(self, bounds.name)) != getattr(default, bounds.name)
        }

    def change(self, number: int, value: int) -> None:
        """Take a value that was announced; unknown settings are ignored (section 6.5.2).

        Raises:
            ProtocolError: the setting cannot have this value.
        """
        bounds = _BOUNDS.get(number)
        if bounds is None:
            return
        if not bounds.least <= value <= bounds.most:
            raise ProtocolError(
                bounds.error,
                f"{bounds.name} is {bounds.least} to {bounds.most} (section 6.5.2)",
            )
        setattr(self, bounds.name, value)
