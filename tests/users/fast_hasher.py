"""A hasher that takes no time, and counts what it is asked."""

from userservice.users.passwords import PasswordHasher


class FastHasher(PasswordHasher):
    """Keeps passwords as they are, for tests alone."""

    def __init__(self) -> None:
        super().__init__()
        self.verified: list[str | None] = []
        """The hash of each verification; None where there was none."""

    async def hash(self, password: str) -> str:
        return f"hash of {password}"

    async def verify(self, password: str, text: str | None) -> bool:
        self.verified.append(text)
        return text == await self.hash(password)
