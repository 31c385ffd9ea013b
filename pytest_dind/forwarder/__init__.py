"""The forwarder: a process that opens a daemon's published ports on this machine's loopback.

One is started for each daemon that a run starts. It follows the daemon's events, listens on each
port that a nested container publishes, on the same port of loopback while that is free, and passes
connections and datagrams on: to the daemon's own address, or, where that is not reached from here,
through a command that the outer engine runs in the daemon's container.

It imports the standard library alone. Modules import down this list only: `process` and `launch`,
`listeners`, `follower` and `relay` and `tunnel`, `loop` and `endpoint`.
"""
