# printing is how a program tells
"""A grpcio server with health and reflection, and no service of its own.

Its arguments are the files of a certificate, its key, and the authority of its clients;
without them it speaks no TLS, and without the last it asks for no client certificate.
"""

import sys
from concurrent import futures
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

files = [Path(name).read_bytes() for name in sys.argv[1:]]
server = grpc.server(futures.ThreadPoolExecutor(4))
servicer = health.HealthServicer()
servicer.set("any.Service", health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
reflection.enable_server_reflection([health.SERVICE_NAME, reflection.SERVICE_NAME], server)
if files:
    cert, key, *client_ca = files
    credentials = grpc.ssl_server_credentials(
        [(key, cert)], client_ca[0] if client_ca else None, bool(client_ca)
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"ready on 127.0.0.1:{port}", flush=True)
server.wait_for_termination()
