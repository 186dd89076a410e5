"""Update masks say which fields change (AIP-134)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice.users import rules
from userservice.users.errors import InvalidRequestError
from userservice.users.mask import user_update
from userservice.users.model import Role, UserUpdate

URL = "https://example.com/a"


def update(paths: list[str], name: str = "", avatar: str = "", role: int = 0) -> UserUpdate:
    """What an update with this mask changes."""
    checks = rules.Checks()
    result = user_update(checks, paths, name, avatar, role)
    checks.done()
    return result


@given(st.sampled_from(["", "Ann"]), st.sampled_from(["", URL]), st.sampled_from([0, 2]))
def test_without_a_mask_every_field_that_is_set_changes(name: str, avatar: str, role: int) -> None:
    """An absent or empty mask means the fields that are not empty."""
    assert update([], name, avatar, role) == UserUpdate(
        name or None, avatar or None, Role(role) if role else None
    )


@given(st.lists(st.sampled_from(["name", "avatar", "role"]), min_size=1))
def test_a_mask_changes_what_it_names_and_nothing_else(paths: list[str]) -> None:
    """Named fields change, whatever their order and however often; others do not."""
    changed = update(paths, "Ann", URL, 2)
    assert (changed.name is not None) == ("name" in paths)
    assert (changed.avatar is not None) == ("avatar" in paths)
    assert (changed.role is not None) == ("role" in paths)


def test_a_star_means_all_of_them() -> None:
    """`*` replaces every field that can change; an unset role is an ordinary user's."""
    assert update(["*"], "Ann") == UserUpdate("Ann", "", Role.USER)


def test_a_masked_empty_avatar_clears_it() -> None:
    """Masked and empty, the avatar goes."""
    assert update(["avatar"]) == UserUpdate(avatar="")


def test_a_masked_empty_name_is_refused() -> None:
    """A user has a name."""
    with pytest.raises(InvalidRequestError) as invalid:
        update(["name"])
    assert [v.field for v in invalid.value.violations] == ["name"]


def test_a_field_that_is_not_masked_is_not_checked() -> None:
    """What does not change may be anything."""
    assert update(["avatar"], name="x" * 999) == UserUpdate(avatar="")


@pytest.mark.parametrize("path", ["id", "email", "created_at", "updated_at"])
def test_an_immutable_path_is_refused(path: str) -> None:
    """The error says that the field cannot change, and which can."""
    with pytest.raises(InvalidRequestError, match="cannot be changed; a path is one of name"):
        update([path])


@given(st.text().filter(lambda path: path not in {"name", "avatar", "role"}))
def test_any_other_path_is_refused(path: str) -> None:
    """Whatever the path is, the error is about the mask, and short."""
    with pytest.raises(InvalidRequestError) as invalid:
        update([path, "name"], "Ann")
    [violation] = invalid.value.violations
    assert violation.field == "update_mask"
    assert len(violation.description) < 400


def test_many_wrong_paths_make_no_endless_error() -> None:
    """The first ten are told."""
    with pytest.raises(InvalidRequestError) as invalid:
        update([f"path{number}" for number in range(10_000)])
    assert len(invalid.value.violations) == 10
