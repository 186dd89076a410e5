"""Roles, as people write them."""

from typing import Final

import click

from userservice import Role
from userservice.users import model

CERTIFICATE_NAMES: Final = ("uri", "email", "dns", "cn", "sha256")
"""The kinds of names that authentication gives a client certificate."""

ROLES = [role for role in Role if role is not Role.UNSPECIFIED]


def role_named(text: str) -> Role | None:
    """Return the role of this name, in any case, with or without ROLE_ in front."""
    name = text.strip().upper().removeprefix("ROLE_")
    return next((role for role in ROLES if role.name == name), None)


def role_name(role: Role) -> str:
    """Return a role's name as filters take it; the number of an unknown one."""
    return role.name or str(int(role))


class RoleName(click.ParamType[Role]):
    """An option that takes a role."""

    name = "role"

    def convert(
        self, value: Role | str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Role:
        """Return the role; fails where there is none of this name."""
        if isinstance(value, Role):
            return value
        role = role_named(value)
        if role is None:
            self.fail(
                f"{value!r} is no role; one is {', '.join(map(role_name, ROLES))}.", param, ctx
            )
        return role

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what stands for the value in a help text."""
        del param, ctx
        return f"[{'|'.join(map(role_name, ROLES))}]"


class CertificateRole(click.ParamType[tuple[str, model.Role]]):
    """An option that takes the name of a certificate, and its role."""

    name = "certificate role"

    def convert(
        self,
        value: tuple[str, model.Role] | str,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, model.Role]:
        """Return name and role; fails where one of them is none."""
        if not isinstance(value, str):
            return value
        name, _, text = value.rpartition("=")  # a name may have the sign too
        role = role_named(text)
        if role is None or name.partition(":")[0] not in CERTIFICATE_NAMES:
            self.fail(
                f"{value!r} is not KIND:NAME=ROLE; the kinds are {', '.join(CERTIFICATE_NAMES)}.",
                param,
                ctx,
            )
        return name, model.Role(role)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what stands for the value in a help text."""
        del param, ctx
        return "NAME=ROLE"
