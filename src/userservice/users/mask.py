"""Update masks: which fields of a user an update changes, and to what (AIP-134, AIP-161)."""

from collections.abc import Mapping, Sequence
from itertools import islice

from userservice.users import rules
from userservice.users.errors import excerpt
from userservice.users.model import Field, UserUpdate

_MUTABLE = (Field.NAME, Field.AVATAR, Field.ROLE)
_ALL = "*"
_REPORTED_MAX = 10  # wrong paths in one error


def user_update(
    checks: rules.Checks, paths: Sequence[str], name: str, avatar: str, role: int
) -> UserUpdate:
    """Return the new values of the fields that the mask names.

    Args:
        checks: notes what is wrong with the mask and the values.
        paths: ``name``, ``avatar``, ``role``, or ``*`` alone for all of them. None
            at all: every field that is set (AIP-134, "Update mask").
        name: the new name.
        avatar: the new avatar; masked and empty, it clears the old one.
        role: the number of the new role; masked and 0, an ordinary user.
    """
    fields = masked(paths, {Field.NAME: name, Field.AVATAR: avatar, Field.ROLE: role})
    if list(paths) != [_ALL]:
        _check(checks, paths)
    return UserUpdate(
        name=checks.check("name", rules.name, name) if Field.NAME in fields else None,
        avatar=checks.check("avatar", rules.avatar, avatar) if Field.AVATAR in fields else None,
        role=checks.check("role", rules.role, role) if Field.ROLE in fields else None,
    )


def masked(paths: Sequence[str], given: Mapping[Field, object]) -> set[Field]:
    """Return the fields that a mask names; what else it names is refused elsewhere.

    Args:
        paths: the mask.
        given: the fields that can be named, and their values.
    """
    if not paths:
        return {field for field, value in given.items() if value}
    if list(paths) == [_ALL]:
        return set(given)
    return {field for field in given if field in paths}


def _check(checks: rules.Checks, paths: Sequence[str]) -> None:
    wrong = dict.fromkeys(path for path in paths if path not in _MUTABLE)
    for path in islice(wrong, _REPORTED_MAX):
        checks.refuse("update_mask", f"{excerpt(path)} {_fault(path)}")


def _fault(path: str) -> str:
    if path == _ALL:
        return "must stand alone"
    fault = "cannot be changed" if path in set(Field) else "is no field of a user"
    return f"{fault}; a path is one of {', '.join(_MUTABLE)}, or *"
