"""Exit statuses: what a script can tell from how the program ended."""

from userservice.rpc import RpcError

DONE = 0
PARTLY_DONE = 1
UNWELL = 1
MISTAKE = 2
INTERRUPTED = 130

_RPC_BASE = 64  # as grpcurl has it: scripts can tell NOT_FOUND (69) from UNAVAILABLE (78)

EXPLANATION = """\b
Exit statuses:
  0       done
  1       partly done: some users were refused, or not there;
          or the doctor found something wrong
  2       a mistake in the command, or a file that cannot be used
  64 + n  the server answered with the gRPC status n, such as
          67 INVALID_ARGUMENT, 68 DEADLINE_EXCEEDED, 69 NOT_FOUND,
          70 ALREADY_EXISTS, 78 UNAVAILABLE (also: no server there)
  130     interrupted
"""


def of_rpc_error(error: RpcError) -> int:
    """Return the exit status that tells this gRPC status."""
    return _RPC_BASE + error.status.value
