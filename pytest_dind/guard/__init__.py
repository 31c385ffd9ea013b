"""The guard of mode socket: a proxy between tests and the outer engine.

A request is read whole before a word of it is passed on, judged by tables of what is known
(`routes`, `containers`, ...), and written anew from what was understood. So the engine never sees a
request that it could read in another way than the guard did. What is not known is refused.
"""
