"""Orders: which user comes before which in a list (AIP-132)."""

from collections.abc import Iterable
from dataclasses import dataclass

from userservice.users.errors import excerpt
from userservice.users.model import Field

# All fields with their directions take a fifth of it.
MAX_CHARACTERS = 500


class OrderError(ValueError):
    """The text is no order."""


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """One field to order by; text is ordered by code point."""

    field: Field
    descending: bool = False


_DEFAULT = OrderTerm(Field.CREATED_AT)
_TIE_BREAKER = OrderTerm(Field.ID)
_DIRECTIONS = {(): False, ("asc",): False, ("desc",): True}


def parse_order(text: str) -> tuple[OrderTerm, ...]:
    """Read fields with commas between them, each with an optional direction (AIP-132).

    The id is added at the end where it is not among the fields: no two users are equal in the
    result, so that a page can begin after any of them. Blank text is the order of creation.

    Raises:
        OrderError: a field is unknown or there twice, or a term is something else than a field with
            an optional ``asc`` or ``desc``.
    """
    if len(text) > MAX_CHARACTERS:
        reason = f"an order has at most {MAX_CHARACTERS} characters, this one has {len(text)}"
        raise OrderError(reason)
    terms = tuple(map(_term, text.split(","))) if text.strip() else (_DEFAULT,)
    fields = _distinct(term.field for term in terms)
    return terms if Field.ID in fields else (*terms, _TIE_BREAKER)


def _term(text: str) -> OrderTerm:
    name, *direction = text.split() or [""]
    try:
        return OrderTerm(Field(name), _DIRECTIONS[tuple(direction)])
    except ValueError:
        fault = f"{excerpt(name)} is no field" if name else "there is no field beside a comma"
        raise OrderError(f"{fault}; the fields are {', '.join(Field)}") from None
    except KeyError:
        fault = excerpt(" ".join(direction))
        raise OrderError(
            f"{name} is followed by {fault}; that can be asc, desc or a comma"
        ) from None


def _distinct(fields: Iterable[Field]) -> set[Field]:
    seen: set[Field] = set()
    for field in fields:
        if field in seen:
            raise OrderError(f"{field} is there twice; an order has each field once")
        seen.add(field)
    return seen
