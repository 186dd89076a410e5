"""The inventory: what lies on the shelves, kept in memory."""

from collections import Counter
from collections.abc import AsyncIterator

from userservice.rpc import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    current_call,
)

from ._gen.inventory.v1 import (
    GetStockRequest,
    GetStockResponse,
    InventoryServiceBase,
    ListStockRequest,
    ListStockResponse,
    PickItemsRequest,
    PickItemsResponse,
    ReceiveDeliveriesRequest,
    ReceiveDeliveriesResponse,
)


class InventoryService(InventoryServiceBase):
    """Counts pieces by item; one method of each cardinality."""

    def __init__(self) -> None:
        self._stock: Counter[str] = Counter()

    async def get_stock(self, message: GetStockRequest) -> GetStockResponse:
        """Return how many pieces of the item there are."""
        if message.item not in self._stock:
            raise NotFoundError(f"there is no item {message.item!r}")
        return GetStockResponse(count=self._stock[message.item])

    async def list_stock(self, _message: ListStockRequest) -> AsyncIterator[ListStockResponse]:
        """Send every item, by name."""
        current_call().trailing_metadata["items"] = str(len(self._stock))
        for item, count in sorted(self._stock.items()):
            yield ListStockResponse(item=item, count=count)

    async def receive_deliveries(
        self, messages: AsyncIterator[ReceiveDeliveriesRequest]
    ) -> ReceiveDeliveriesResponse:
        """Add what was delivered, and return how many pieces came in all."""
        received = 0
        async for delivery in messages:
            self._stock[delivery.item] += _positive(delivery.count)
            received += delivery.count
        return ReceiveDeliveriesResponse(count=received)

    async def pick_items(
        self, messages: AsyncIterator[PickItemsRequest]
    ) -> AsyncIterator[PickItemsResponse]:
        """Take pieces off the shelves, and answer each pick with what is left."""
        async for pick in messages:
            left = self._stock[pick.item] - _positive(pick.count)
            if left < 0:
                raise FailedPreconditionError(f"there are not {pick.count} pieces of {pick.item!r}")
            self._stock[pick.item] = left
            yield PickItemsResponse(item=pick.item, left=left)


def _positive(count: int) -> int:
    if count < 1:
        raise InvalidArgumentError("count must be at least 1")
    return count
