# printing is how a program tells
"""grpcio-health-checking's client: asks a server for its health, and watches it to the end.

It prints one JSON document with what Check, List and a Watch of an unknown service
say, and then each status that Watch sends, and how Watch ended. It is a program of its
own because grpclib's health messages, which ours come from, have the same names.
"""

import json
import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVICE = "userservice.v1.UserService"
PATIENCE_S = 20


def name(response: Any) -> str:
    """Return the name of a status."""
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


def check(stub: Any, service: str) -> str:
    """Return the status of a service, or the code of the error."""
    try:
        return name(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S))
    except grpc.RpcError as error:
        return str(error.code().name)


def unknown(stub: Any) -> str:
    """Return the first status of a service that the server does not have."""
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=PATIENCE_S)
    status = name(next(watch))
    watch.cancel()
    return status


def main(address: str) -> None:
    """Ask and watch."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        listed = stub.List(health_pb2.HealthListRequest(), timeout=PATIENCE_S).statuses
        answers = {
            "check": {service: check(stub, service) for service in ("", SERVICE, "nobody")},
            "list": {service: name(response) for service, response in listed.items()},
            "watch unknown": unknown(stub),
        }
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=PATIENCE_S)
        print(json.dumps(answers), flush=True)
        try:
            for response in watch:
                print(name(response), flush=True)
        except grpc.RpcError as error:
            print(error.code().name, flush=True)


main(sys.argv[1])
