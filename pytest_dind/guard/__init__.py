"""The guard of mode socket: a proxy between tests and the outer engine.

A request's head, and its body where that is JSON, are read whole before anything is passed on. They
are checked against tables of known calls and fields (`handlers/table`, `rules`), and written anew
from what was understood. So the engine never sees a request that it could read in another way than
the guard did. What is not known is refused.

Modules import down this list only: `process` and `launch`, `server` and `config`, `handlers`,
`objects`, `rules`, `http`.
"""
