"""The doctor: looks at an address as a new operator would, and says in words what is wrong.

    findings      what a finding is: a step, a mark, a sign, words, facts
    words         what is said of each sign, and how it is mended: all wording is here
    places        where a target leads: names, addresses, sockets
    tongues       which protocol is spoken on a port
    handshakes    TLS: what was agreed on, and what is wrong with a certificate
    conversation  HTTP/2 on one connection, one request after the other
    answers       what comes back of a request, and whether it is gRPC
    diagnosis     from evidence to findings
    examination   all steps, one after the other
    report        findings for people, and for programs

It takes nothing for granted: any server may be there, or something else.
"""
