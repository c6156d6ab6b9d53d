-- ARGV: 1 owner, 2 what the owner was told is applied, 3 what the tables hold all before, 4 bytes of released rows that
--       may stay, 5 rows to look at
-- Returns 1 when there is more to drop, 0 when not, -1 when the partition is not the owner's any more.
if not may_write(ARGV[1], ARGV[2]) then
  return -1
end
local budget, step = tonumber(ARGV[4]), tonumber(ARGV[5])
-- What is only kept for readers gives way before Redis is full: then it would take no claims and no ended sessions either.
local memory = redis.pcall('INFO', 'memory')
if type(memory) == 'string' then
  local used, limit = string.match(memory, 'used_memory:(%d+)'), string.match(memory, 'maxmemory:(%d+)')
  if used and limit and tonumber(limit) > 0 and tonumber(used) > tonumber(limit) * 0.9 then
    budget = 0
  end
end
released_to = math.max(released_to, math.min(tonumber(ARGV[3]), applied_to))
local limit = digits(released_to) .. '-0'
local newest_released = redis.call('XREVRANGE', ROWS, limit, '-', 'COUNT', 1)[1]
local held = newest_released and tonumber(fields(newest_released).b) - dropped or 0

-- A write that a full Redis takes, so that the rest may follow: this is what makes room.
redis.call('HDEL', META, '')
local entries = held > budget and redis.call('XRANGE', ROWS, '-', limit, 'COUNT', step) or {}
local at, seq = 1, nil
-- A reader is told offsets, so rows of one offset go together.
while at <= #entries and (held > budget or split(entries[at][1]) == seq) do
  local id, row = entries[at][1], fields(entries[at])
  local n
  seq, n = split(id)
  redis.call('XDEL', ROWS, id)
  redis.call('ZREM', ACCOUNTS, row.a .. place(seq, n))
  if redis.call('HGET', NEWEST, row.a .. row.e) == id then
    email_count = email_count - redis.call('HDEL', NEWEST, row.a .. row.e)
  end
  row_count = row_count - 1
  held = held - (tonumber(row.b) - dropped)
  dropped = tonumber(row.b)
  held_from = seq + 1
  at = at + 1
end
redis.call('HSET', META, 'released_to', digits(released_to), 'held_from', digits(held_from), 'rows', row_count,
  'emails', email_count, 'dropped', digits(dropped))
return held > budget and 1 or 0
