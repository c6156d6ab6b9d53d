-- What is held of one partition; every script of the hot store begins with this.
--
-- KEYS: 1 meta: a hash, see below
--       2 rows: a stream; ids are `<seq>-<n>`, the n-th row (from 1) made of that record; fields are
--         a (account), e (email), v (value), b (bytes of all rows since the reset, this one included)
--       3 accounts: a sorted set without scores; members are account, seq (20 digits), n (10 digits)
--       4 newest: a hash; account and email to the id of the newest row
-- An account is written with its length (8 hex digits) before it, so that none is the beginning of another.
local META, ROWS, ACCOUNTS, NEWEST = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local meta = redis.call('HMGET', META, 'owner', 'held_from', 'applied_to', 'released_to', 'rows', 'emails', 'bytes', 'dropped',
  'complete_at', 'run_id')
local owner = meta[1]
local held_from, applied_to, released_to = tonumber(meta[2]), tonumber(meta[3]), tonumber(meta[4])
local row_count, email_count = tonumber(meta[5]), tonumber(meta[6])
-- Of all rows since the reset, and of those that were dropped again.
local bytes, dropped = tonumber(meta[7]), tonumber(meta[8])

-- False when nobody has begun the partition, or when any of its keys was lost: then nothing of it is believed.
local function is_whole()
  return owner
    and redis.call('XLEN', ROWS) == row_count
    and redis.call('ZCARD', ACCOUNTS) == row_count
    and redis.call('HLEN', NEWEST) == email_count
end

-- Whether `who`, who was told that all before `known_to` is applied, may write. False also when Redis has gone back to
-- an older state, as after a failover: what is missing then would be missed for ever.
local function may_write(who, known_to)
  return is_whole() and owner == who and applied_to >= tonumber(known_to)
end

-- Lua would write large numbers with an exponent.
local function digits(number)
  return string.format('%.0f', number)
end

-- Written so that the order of the texts is the order of the numbers.
local function place(seq, n)
  return string.format('%020.0f%010d', seq, n)
end

local function split(id)
  local seq, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(seq), tonumber(n)
end

-- The fields of an entry of the stream, by name.
local function fields(entry)
  local named = {}
  for at = 1, #entry[2], 2 do
    named[entry[2][at]] = entry[2][at + 1]
  end
  return named
end

