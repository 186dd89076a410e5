"""Server reflection through grpclib's plugin, fed by descriptor sets.

Code generation writes the descriptor set, so that no second runtime has to import
the messages.
"""

from collections.abc import Collection, Iterable
from importlib import resources
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpclib.reflection.v1 import reflection_pb2
from grpclib.reflection.v1alpha import reflection_pb2 as reflection_v1alpha_pb2

from userservice.rpc import _seams
from userservice.rpc.server import Service, service_name

_GENERATED: Final = ("_gen", "rpc/channelz/_gen")


def with_reflection(
    services: Collection[Service], descriptor_sets: Iterable[bytes] = ()
) -> list[Service]:
    """Return the services, and the reflection services (v1, v1alpha) that describe them.

    Args:
        services: what the server serves.
        descriptor_sets: serialised ``FileDescriptorSet``, with every file that the
            services' files import. Those of this package are known already.
    """
    names = [service_name(service) for service in services]
    reflected = [reflection_pb2, reflection_v1alpha_pb2]
    names += [file.DESCRIPTOR.services_by_name["ServerReflection"].full_name for file in reflected]
    return [*services, *_seams.reflection_services(names, _pool(descriptor_sets))]


def _pool(descriptor_sets: Iterable[bytes]) -> DescriptorPool:
    pool = DescriptorPool()
    package = resources.files("userservice")  # by path: to import channelz takes its time
    own = [package.joinpath(folder, "descriptors.binpb").read_bytes() for folder in _GENERATED]
    seen: set[str] = set()
    for descriptor_set in (*descriptor_sets, *own):
        # protoc writes a file after the files it imports.
        for file in FileDescriptorSet.FromString(descriptor_set).file:
            if file.name not in seen:
                seen.add(file.name)
                pool.Add(file)
    for module in (reflection_pb2, reflection_v1alpha_pb2):
        pool.Add(FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb))
    return pool


__all__ = ["with_reflection"]
