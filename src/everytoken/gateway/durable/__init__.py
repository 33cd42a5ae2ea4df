"""The Durable Streams protocol over the journal: what can be done with `/v1/stream/<id>` itself.

`writes` creates, appends and deletes, `reads` answers in one piece, `live` follows as events, `headers` knows the names.
"""
