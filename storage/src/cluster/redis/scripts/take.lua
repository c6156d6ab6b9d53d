-- ARGV: 1 the new owner, 2 where the tables end, 3 where the log ends, 4 whether what is held is gone on with: 1 or 0,
--       5 the token by which the new owner has it already, or ''
-- Returns what is applied; nothing when there is nothing to go on with, and all is as it was; or a memory policy under
-- which nothing may be kept here.
local function info(section, pattern)
  local text = redis.pcall('INFO', section)
  return type(text) == 'string' and string.match(text, pattern) or ''
end
local policy = info('memory', 'maxmemory_policy:(%S+)')
if string.sub(policy, 1, 7) == 'allkeys' then
  return policy
end
-- A Redis that was started again, or a replica that was promoted, may have gone back to before what readers saw.
local run_id = info('server', 'run_id:(%S+)')
local from = tonumber(ARGV[2])
-- The first write is one that a full Redis takes: after it a script is let finish.
if ARGV[4] == '1' then
  if not is_whole() or from < held_from or from > applied_to then
    return false
  end
  redis.call('HDEL', META, '')
  if meta[10] ~= run_id then
    redis.call('HSET', META, 'run_id', run_id, 'complete_at', ARGV[3])
  end
  redis.call('HSET', META, 'owner', ARGV[1])
  return digits(applied_to)
end
-- Another may have gone on until now, and have shown more than the log had when the new owner asked.
local complete_at = tonumber(ARGV[3])
if applied_to and owner ~= ARGV[5] then
  complete_at = math.max(complete_at, applied_to)
end
redis.call('UNLINK', META, ROWS, ACCOUNTS, NEWEST)
redis.call('HSET', META, 'owner', ARGV[1], 'held_from', ARGV[2], 'applied_to', ARGV[2], 'released_to', ARGV[2],
  'rows', 0, 'emails', 0, 'bytes', 0, 'dropped', 0, 'complete_at', digits(complete_at), 'run_id', run_id)
return ARGV[2]
