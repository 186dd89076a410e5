"""From evidence to findings: which sign something is. What is said of it is in `words`.

reach    the name, and its addresses
tls      the handshake, and the certificate
http2    the settings, or what is heard instead of them
grpc     the answers of calls
"""
