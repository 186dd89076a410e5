"""channelz: what servers, channels and their sockets are, and what they carried (gRFC A14).

    channelz = Channelz()
    server = Server([stock, channelz])
    channelz.add(server)

Who adds nothing pays nothing: what counts are classes of their own, which `Channelz.add` puts
in the place of the ordinary ones.

    records   the numbers: of a server, a channel, a socket
    counted   connections and calls that count
    sockets   what the system knows of a socket
    service   the answers
"""

from userservice.rpc.channelz.service import Channelz

__all__ = ["Channelz"]
