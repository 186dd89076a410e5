"""betterproto2's private names, and nothing else: they are touched here only.

They are those of betterproto2 0.10, which pyproject.toml pins to its minor version.
"""

from typing import Any

import betterproto2
from betterproto2 import FieldMetadata, ProtoClassMetadata

# Where a message keeps the fields that its class does not know; `__post_init__` sets it,
# and `__bytes__` writes it last.
UNKNOWN_FIELDS = "_unknown_fields"


def metadata_of(message_type: type[betterproto2.Message]) -> ProtoClassMetadata:
    """Return what betterproto2 knows of a class: 0.10 has no public way to its types."""
    metadata: ProtoClassMetadata = message_type._betterproto  # type: ignore[arg-type]  # noqa: SLF001  # a descriptor mypy cannot read; private
    return metadata


def field_metadata(metadata: ProtoClassMetadata) -> dict[str, FieldMetadata]:
    """Return what each field was declared as, in the order of declaration."""
    return metadata.meta_by_field_name


def enum_member(enum_type: type[betterproto2.Enum], number: int) -> Any:
    """Return the value that an enum has for a number it does not know.

    It is what ``enum_type(number)`` returns, at a quarter of the price: that is
    Python's enum machinery around this call.
    """
    return enum_type._missing_(number)  # type: ignore[no-untyped-call]  # betterproto2 has no types here


def is_plain(message_type: type[betterproto2.Message]) -> bool:
    """Whether making an instance does nothing but set its attributes.

    Classes with something deprecated have a ``__post_init__`` that warns, and pydantic's
    have an ``__init__`` of their own.
    """
    return (
        message_type.__post_init__ is betterproto2.Message.__post_init__
        and message_type.__new__ is object.__new__
        and message_type.__setattr__ is object.__setattr__
        and not hasattr(message_type, "__pydantic_fields__")
    )
