"""A typed client for the inventory: the generated stub, behind the stack's own Stub."""

from userservice.rpc import Stub

from ._gen.inventory.v1 import InventoryServiceStub


class InventoryClient(Stub, InventoryServiceStub):
    """Every method of the service, with the stack's deadlines, metadata and errors."""
