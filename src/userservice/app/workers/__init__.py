"""Several processes that serve as one: a supervisor, and its workers.

supervisor   accepts, hands connections on, keeps workers alive, is the hub of the feed
process      a worker as the supervisor sees it
worker       a worker as it sees itself
handover     who has which connection
link         the messages between them
restarts     how long to wait before a worker is started again
"""
