"""Drop-in HTTP clients for the official SDKs: the same recovery as the gateway's, in the caller's process.

`everytoken.Client` and `everytoken.AsyncClient` are what is public. Nothing is imported here, so that a program pays for the
one it uses.
"""
