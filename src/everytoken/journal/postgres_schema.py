"""What a journal has in PostgreSQL: its tables, and the statements that take one step each.

A stream is a row; its records are rows of `entries`, each with those of one commit. An append is one statement: it moves
the stream's tail, if the stream is still where its writer knows it to be, and adds the entry only then. So the row itself
fences off a writer of an earlier epoch, and refuses what is sent a second time.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "APPEND",
    "CHANNEL",
    "CREATE",
    "ENTRIES",
    "FOUND",
    "LIVE",
    "MOVE",
    "ORPHANS",
    "READ_HERE",
    "SCHEMA",
    "STATES",
    "USED",
    "VERSION",
]

VERSION: Final = 1
CHANNEL: Final = "everytoken"
"""Where nodes tell each other of streams: `m` (moved), `t` (taken over) or `g` (gone), and the stream's number."""

# Half of a page of `streams` stays free, so that a stream that moves finds room in the page it is in, and no index changes.
SCHEMA: Final = """
CREATE SCHEMA IF NOT EXISTS everytoken;
CREATE TABLE IF NOT EXISTS everytoken.version (number int NOT NULL);
CREATE TABLE IF NOT EXISTS everytoken.streams (
  number int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE,
  node text COLLATE "C" NOT NULL,   -- that writes it; '' when it has ended, or anybody may
  owner text COLLATE "C" NOT NULL,
  shared bool NOT NULL,
  created float8 NOT NULL,
  epoch int8 NOT NULL,
  begun int8[] NOT NULL,            -- the tail at which each later epoch began
  tail int8 NOT NULL,
  closed bool NOT NULL,
  bytes int8 NOT NULL,              -- counted against its owner's quota
  sequence text COLLATE "C",
  info bytea NOT NULL,
  expires timestamptz,
  read_until timestamptz            -- nodes that do not write it read it until then
) WITH (fillfactor = 50);
CREATE INDEX IF NOT EXISTS streams_open ON everytoken.streams (node, created) WHERE node <> '';
CREATE INDEX IF NOT EXISTS streams_expire ON everytoken.streams (expires) WHERE expires IS NOT NULL;
CREATE INDEX IF NOT EXISTS streams_owned ON everytoken.streams (owner) WHERE shared;
CREATE TABLE IF NOT EXISTS everytoken.entries (
  stream int8 NOT NULL,
  first int8 NOT NULL,
  count int8 NOT NULL,
  packing int2 NOT NULL,
  data bytea NOT NULL,
  PRIMARY KEY (stream, first)
);
ALTER TABLE everytoken.entries ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE TABLE IF NOT EXISTS everytoken.producers (
  stream int8 NOT NULL, id text COLLATE "C" NOT NULL, epoch int8 NOT NULL, seq int8 NOT NULL, PRIMARY KEY (stream, id)
);
CREATE TABLE IF NOT EXISTS everytoken.nodes (node text COLLATE "C" PRIMARY KEY, until timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS everytoken.reservations (
  name text COLLATE "C" PRIMARY KEY, at int8 NOT NULL, until float8 NOT NULL, demands bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS reservations_at ON everytoken.reservations (at);
CREATE TABLE IF NOT EXISTS everytoken.totals (
  counter text COLLATE "C" PRIMARY KEY, amount int8 NOT NULL, used timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS everytoken.windows (
  counter text COLLATE "C" NOT NULL, second int8 NOT NULL, amount int8 NOT NULL, PRIMARY KEY (counter, second)
);
CREATE TABLE IF NOT EXISTS everytoken.running (
  counter text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL, until float8 NOT NULL, PRIMARY KEY (counter, name)
);
"""

LIVE: Final = "(expires IS NULL OR expires > now())"

CREATE: Final = """
WITH made AS (
  INSERT INTO everytoken.streams
    (id, node, owner, shared, created, epoch, begun, tail, closed, bytes, info, expires)
  VALUES ($1, $2, $3, $4, $5, $6, '{}', $7, $8, $9, $10, now() + make_interval(secs => $11))
  ON CONFLICT (id) DO NOTHING
  RETURNING number
), added AS (
  INSERT INTO everytoken.entries SELECT number, 0, $7, $12, $13 FROM made WHERE $7 > 0
)
SELECT number FROM made
"""

# Arrays with one element for each stream: number, epoch, tail before and after, packing and data of the entry, the info of
# a stream that ends, and for how many seconds it is kept. Returns the streams that have moved.
APPEND: Final = """
WITH moved AS (
  UPDATE everytoken.streams s
  SET tail = v.after, closed = v.ended IS NOT NULL, info = coalesce(v.ended, s.info),
    node = CASE WHEN v.ended IS NULL THEN s.node ELSE '' END,
    expires = CASE WHEN v.ended IS NULL THEN s.expires ELSE now() + make_interval(secs => v.kept) END
  FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int2[], $6::bytea[], $7::bytea[], $8::float8[])
    AS v (number, epoch, before, after, packing, data, ended, kept)
  WHERE s.number = v.number AND s.epoch = v.epoch AND s.tail = v.before AND NOT s.closed
  RETURNING s.number, v.before, v.after, v.packing, v.data, s.read_until > now() AS is_read
), added AS (
  INSERT INTO everytoken.entries SELECT number, before, after - before, packing, data FROM moved WHERE after > before
)
SELECT number, CASE WHEN is_read THEN pg_notify('everytoken', 'm' || number) END FROM moved
"""

# What is known of a stream, if its time is not over.
FOUND: Final = f"SELECT * FROM everytoken.streams WHERE id = $1 AND {LIVE}"

# An append by anybody: number, tail before and after, whether that is the end, bytes that it adds, the last `Stream-Seq`, the
# info, for how many seconds the stream is kept, packing and data.
MOVE: Final = """
WITH moved AS (
  UPDATE everytoken.streams SET tail = $3, closed = $4, bytes = bytes + $5, sequence = $6, info = $7,
    expires = now() + make_interval(secs => $8)
  WHERE number = $1 RETURNING number
), added AS (
  INSERT INTO everytoken.entries SELECT number, $2, $3 - $2, $9, $10 FROM moved WHERE $3::int8 > $2::int8
)
SELECT pg_notify('everytoken', 'm' || number) FROM moved
"""

USED: Final = f"""
SELECT coalesce(sum(bytes), 0)::int8, count(*) FROM (
    SELECT bytes FROM everytoken.streams WHERE shared AND owner = $1 AND {LIVE} LIMIT $2) AS theirs
"""

# In the order of their numbers, as writers change them: so no two ever wait for each other.
READ_HERE: Final = """
UPDATE everytoken.streams SET read_until = now() + make_interval(secs => $2) WHERE number IN (
  SELECT number FROM everytoken.streams WHERE number = ANY($1::int8[]) ORDER BY number FOR UPDATE
)
"""

STATES: Final = f"""
SELECT number, epoch, begun, tail, closed,
  CASE WHEN closed THEN info END AS info
FROM everytoken.streams WHERE number = ANY($1::int8[]) AND {LIVE}
"""

# Of each stream the entries from the one on that holds an offset, about as many bytes as asked for and at least one of them.
ENTRIES: Final = """
SELECT v.number, e.first, e.count, e.packing, e.data
FROM unnest($1::int8[], $2::int8[]) AS v (number, start)
CROSS JOIN LATERAL (
  SELECT first, count, packing, data, sum(length(data) + 32) OVER (ORDER BY first) - length(data) AS before
  FROM (
    SELECT first, count, packing, data FROM everytoken.entries
    WHERE stream = v.number AND first >= (
      SELECT max(first) FROM everytoken.entries WHERE stream = v.number AND first <= v.start
    )
    ORDER BY first LIMIT 256
  ) AS few
) AS e
WHERE e.before <= $3 AND e.first + e.count > v.start
ORDER BY v.number, e.first
"""

ORPHANS: Final = f"""
SELECT id, node FROM everytoken.streams
WHERE node <> '' AND NOT closed AND {LIVE} AND (
  node <> $1 AND (node = ANY($2::text[]) OR $3 AND node NOT IN (SELECT node FROM everytoken.nodes WHERE until > now()))
  OR node = $1 AND id = ANY($4::text[])
)
ORDER BY created, id
"""
