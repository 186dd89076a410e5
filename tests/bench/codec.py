"""How fast the codec is, beside others: ``python tests/bench/codec.py [ROUNDS]``.

In each round all of them do the same task, one after the other, and what is compared is
their times in that round; the table has the median of all rounds, and how far they are
apart. The others are betterproto2's own codec, and those of these that are installed:
Google's runtime (grpcio-tools makes its classes), and protobuf-py-pure (protoc-gen-py).
"""

import datetime
import importlib
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import betterproto2

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)

from tests.wire._gen import everything  # noqa: E402  # needs the path

from userservice._gen.userservice.v1 import ListUsersResponse, Role, User  # noqa: E402  # likewise
from userservice.wire.protobuf import decode, encode  # noqa: E402  # likewise

ROUNDS = 15
PLUGIN = Path(sys.executable).with_name("protoc-gen-py")
SHARE_S = 0.03  # of a round, for each task of each codec
PROTOS = [ROOT / "proto/userservice/v1/user_service.proto", ROOT / "tests/wire/test_protobuf.proto"]
TIME = datetime.datetime(2025, 5, 6, 7, 8, 9, 654321, tzinfo=datetime.UTC)
TEXTS = {
    "id": "3f1c1f9e-7d4a-4d2e-9d6a-0a4f7d1d2c3b",
    "email": "ann@example.com",
    "name": "Ann Example",
    "avatar": "https://example.com/ann.png",
}


@dataclass(frozen=True, slots=True)
class Codec:
    """One of those that are compared."""

    name: str
    encode: Callable[[Any], bytes]
    decode: Callable[[type[Any], bytes], Any]
    build: Callable[[], bytes]  # a User from Python's values, and encodes it
    read: Callable[[bytes], tuple[Any, ...]]  # decodes a User, and reads its fields
    classes: dict[str, type[Any]]


def user() -> User:
    """Return a user with all its fields."""
    return User(**TEXTS, role=Role.ADMIN, created_at=TIME, updated_at=TIME)


def every_kind() -> betterproto2.Message:
    """Return a message with a field of every kind."""
    scalars = everything.Scalars(
        an_int32=-1,
        an_int64=1 << 40,
        a_uint32=300,
        a_uint64=5,
        a_sint32=-70,
        a_sint64=-(1 << 35),
        a_fixed32=1,
        a_fixed64=2,
        an_sfixed32=-3,
        an_sfixed64=-4,
        a_float=0.5,
        a_double=0.1,
        a_bool=True,
        a_string="text",
        some_bytes=b"bytes",
        a_color=everything.Color.FAR,
    )
    return everything.Everything(
        scalars=scalars,
        optionals=everything.Optionals(an_int32=0, a_string="", scalars=scalars),
        repeated=everything.Repeated(
            int32s=[1, 2, 300], doubles=[0.5] * 8, strings=["a", "b"], scalars=[scalars, scalars]
        ),
        oneof=everything.Oneof(a_string="choice", left="left"),
        tree=everything.Tree(class_="class", child=everything.Tree(message="message")),
        maps=everything.Maps(
            int32s={1: 2},
            strings={"a": "b", "c": "d"},
            scalars={"a": scalars},
            timestamps={1: TIME},
        ),
        well_known=everything.WellKnown(
            timestamp=TIME,
            duration=datetime.timedelta(seconds=90),
            int32_value=5,
            string_value="value",
            timestamps=[TIME, TIME],
        ),
    )


MESSAGES: dict[str, betterproto2.Message] = {
    "User": user(),
    "ListUsersResponse, 100 users": ListUsersResponse(users=[user()] * 100, total_count=100),
    "every kind of field": every_kind(),
}
BYTES = {name: encode(message) for name, message in MESSAGES.items()}
CLASSES: dict[str, type[Any]] = {name: type(message) for name, message in MESSAGES.items()}


def fields(message: Any) -> tuple[Any, ...]:
    """Return the values of a betterproto2 User."""
    texts = (message.id, message.email, message.name, message.avatar)
    return (*texts, message.role, message.created_at, message.updated_at)


def ours() -> Codec:
    """Return the codec of this project."""
    return Codec(
        "ours",
        encode,
        decode,
        lambda: encode(user()),
        lambda data: fields(decode(User, data)),
        CLASSES,
    )


def betterproto2s() -> Codec:
    """Return betterproto2's own codec."""
    return Codec(
        "betterproto2",
        bytes,
        lambda message_type, data: message_type.parse(data),
        lambda: bytes(user()),
        lambda data: fields(User.parse(data)),
        CLASSES,
    )


def googles(generated: Path) -> Codec:
    """Return Google's codec."""
    protoc(f"--python_out={generated}")
    users, kinds = (importlib.import_module(f"{proto.stem}_pb2") for proto in PROTOS)

    def build() -> bytes:
        message = users.User(**TEXTS, role=2)
        message.created_at.FromDatetime(TIME)
        message.updated_at.FromDatetime(TIME)
        return message.SerializeToString()  # type: ignore[no-any-return]  # it has no types

    def read(data: bytes) -> tuple[Any, ...]:
        message = users.User.FromString(data)
        texts = (message.id, message.email, message.name, message.avatar, message.role)
        return (*texts, message.created_at.ToDatetime(), message.updated_at.ToDatetime())

    return Codec(
        "Google's upb",
        lambda message: message.SerializeToString(),
        lambda message_type, data: message_type.FromString(data),
        build,
        read,
        dict(zip(MESSAGES, (users.User, users.ListUsersResponse, kinds.Everything), strict=True)),
    )


def pures(generated: Path) -> Codec:
    """Return the codec of protobuf-py-pure."""
    protoc(f"--plugin=protoc-gen-py={PLUGIN}", f"--py_out={generated}")
    sys.modules["protobuf_ext"] = None  # type: ignore[assignment]  # where its native half is installed, it is not asked
    users, kinds = (importlib.import_module(f"{proto.stem}_pb") for proto in PROTOS)
    timestamp = importlib.import_module("protobuf.wkt.google.protobuf.timestamp_pb").Timestamp

    def build() -> bytes:
        times = [timestamp.from_datetime(TIME) for _ in range(2)]
        message = users.User(**TEXTS, role=users.Role(2), created_at=times[0], updated_at=times[1])
        return message.to_binary()  # type: ignore[no-any-return]  # an optional package

    def read(data: bytes) -> tuple[Any, ...]:
        message = users.User.from_binary(data)
        times = (message.created_at.to_datetime(), message.updated_at.to_datetime())
        return (message.id, message.email, message.name, message.avatar, message.role, *times)

    return Codec(
        "protobuf-py-pure",
        lambda message: message.to_binary(),
        lambda message_type, data: message_type.from_binary(data),
        build,
        read,
        dict(zip(MESSAGES, (users.User, users.ListUsersResponse, kinds.Everything), strict=True)),
    )


def protoc(*options: str) -> None:
    """Generate the classes of all messages."""
    import grpc_tools  # noqa: PLC0415  # optional

    google = Path(grpc_tools.__file__).parent / "_proto"
    paths = [f"--proto_path={folder}" for folder in {*(proto.parent for proto in PROTOS), google}]
    names = [proto.name for proto in PROTOS]
    command = [sys.executable, "-m", "grpc_tools.protoc", *paths, *options, *names]
    subprocess.run(command, check=True)


def codecs(generated: Path) -> Iterator[Codec]:
    """Yield the codecs that are installed, ours first."""
    yield ours()
    yield betterproto2s()
    if importlib.util.find_spec("grpc_tools"):
        yield googles(generated)
        if PLUGIN.exists():
            yield pures(generated)


def tasks(codec: Codec) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what is measured of a codec; that it does it right is seen first."""
    for name, data in BYTES.items():
        message_type = codec.classes[name]
        message = codec.decode(message_type, data)
        assert decode(CLASSES[name], codec.encode(message)) == MESSAGES[name]
        yield f"encode {name}", partial(codec.encode, message)
        yield f"decode {name}", partial(codec.decode, message_type, data)
    assert codec.build() == BYTES["User"]
    yield "build a User and encode it", codec.build
    yield "decode a User and read it", lambda: codec.read(BYTES["User"])


def seconds(task: Callable[[], Any]) -> float:
    """Return how long a task takes now."""
    once = timeit.timeit(task, number=1)
    number = max(1, int(SHARE_S / once))
    return timeit.timeit(task, number=number) / number


def table(measured: list[list[float]], names: list[str]) -> Iterator[str]:
    """Yield a line for each codec, from its times and ours in each round."""
    for name, times in zip(names, measured, strict=True):
        ratios = [theirs / our for theirs, our in zip(times, measured[0], strict=True)]
        spread = f"{min(ratios):.2f}..{max(ratios):.2f}"
        microseconds = f"{statistics.median(times) * 1e6:12,.2f}"
        yield f"  {name:20}{microseconds}{statistics.median(ratios):10.2f}   {spread}"


def main(rounds: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as generated:
        sys.path.insert(1, generated)
        all_codecs = list(codecs(Path(generated)))
        all_tasks = [dict(tasks(codec)) for codec in all_codecs]
    names = [codec.name for codec in all_codecs]
    print(f"Python {sys.version.split()[0]}, {rounds} rounds: medians, and times of ours")
    print(f"  {'':20}{'us':>12}{'ratio':>10}   min..max")
    for task in all_tasks[0]:
        of_rounds = [[seconds(tasks[task]) for tasks in all_tasks] for _ in range(rounds)]
        print(
            task, *table([list(times) for times in zip(*of_rounds, strict=True)], names), sep="\n"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
