"""The constant messages, as Google's protobuf has them."""

import user_service_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from tests.bench import contract


def _timestamps() -> tuple[Timestamp, Timestamp]:
    created, updated = Timestamp(), Timestamp()
    created.FromDatetime(contract.CREATED)
    updated.FromDatetime(contract.UPDATED)
    return created, updated


CREATED, UPDATED = _timestamps()
USER = user_service_pb2.User(
    id=contract.USER_ID,
    email=contract.EMAIL,
    name=contract.NAME,
    avatar=contract.AVATAR,
    role=contract.ROLE,
    created_at=CREATED,
    updated_at=UPDATED,
)
EVENTS = {
    contract.SMALL: user_service_pb2.UserEvent(type=1, user=USER, timestamp=UPDATED),
    contract.LARGE: user_service_pb2.UserEvent(
        type=1, user=USER, timestamp=UPDATED, resume_token=contract.LARGE_TEXT
    ),
}
