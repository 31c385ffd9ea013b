"""HTTP on unix sockets, as a proxy needs it: heads, bodies, streams, and the engine behind."""
