-- ARGV: 1 the new owner, 2 where the tables end
-- Returns '', or a memory policy under which nothing may be kept here.
local info = redis.pcall('INFO', 'memory')
local policy = type(info) == 'string' and string.match(info, 'maxmemory_policy:(%S+)') or ''
if string.sub(policy, 1, 7) == 'allkeys' then
  return policy
end
-- The first write is one that a full Redis takes: after it a script is let finish.
redis.call('UNLINK', META, ROWS, ACCOUNTS, NEWEST)
redis.call('HSET', META, 'owner', ARGV[1], 'held_from', ARGV[2], 'applied_to', ARGV[2], 'released_to', ARGV[2],
  'rows', 0, 'emails', 0, 'bytes', 0, 'dropped', 0)
return ''
