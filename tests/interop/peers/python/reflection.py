# printing is how a program tells
"""grpcio-reflection's client: learns a service from the server, and calls it.

It takes an address and an email, has no stubs and no .proto file, and prints one JSON
document. It is a program of its own because grpclib's reflection messages, which our
server answers with, have the same names.
"""

import json
import sys
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

SERVICE = "userservice.v1.UserService"
# v1 has the messages of v1alpha; grpcio-reflection knows v1alpha alone.
V1 = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


def call(channel: grpc.Channel, pool: DescriptorPool, email: str) -> dict[str, Any]:
    """Create a user, with what the pool knows."""
    method = pool.FindServiceByName(SERVICE).FindMethodByName("CreateUser")
    request_type = message_factory.GetMessageClass(method.input_type)
    response_type = message_factory.GetMessageClass(method.output_type)
    create = channel.unary_unary(
        f"/{SERVICE}/CreateUser", request_type.SerializeToString, response_type.FromString
    )
    request = json_format.ParseDict({"email": email, "name": "Ann", "role": 2}, request_type())
    return json_format.MessageToDict(create(request))


def ask_v1(channel: grpc.Channel, *requests: reflection_pb2.ServerReflectionRequest) -> list[Any]:
    """Send requests to v1, all in one stream."""
    ask = channel.stream_stream(
        V1,
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    return list(ask(iter(requests)))


def transitive(channel: grpc.Channel, filename: str) -> dict[str, list[str]]:
    """Return a file and all that it imports, each asked for by name from v1."""
    imports: dict[str, list[str]] = {}
    wanted = [filename]
    while wanted:
        request = reflection_pb2.ServerReflectionRequest(file_by_filename=wanted.pop())
        [response] = ask_v1(channel, request)
        for serialized in response.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(serialized)
            imports[file.name] = sorted(file.dependency)
            wanted += [name for name in file.dependency if name not in imports]
    return imports


def main(address: str, email: str) -> None:
    """List, describe and call."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        service = pool.FindServiceByName(SERVICE)
        listed, by_symbol, unknown = ask_v1(
            channel,
            reflection_pb2.ServerReflectionRequest(list_services="*"),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="nobody.Nothing"),
        )
        print(
            json.dumps(
                {
                    "services": sorted(database.get_services()),
                    "methods": [method.name for method in service.methods],
                    "created": call(channel, pool, email),
                    "v1 services": sorted(
                        item.name for item in listed.list_services_response.service
                    ),
                    "v1 files by symbol": len(
                        by_symbol.file_descriptor_response.file_descriptor_proto
                    ),
                    "v1 unknown": unknown.error_response.error_code,
                    "v1 imports": transitive(channel, service.file.name),
                }
            )
        )


main(*sys.argv[1:])
