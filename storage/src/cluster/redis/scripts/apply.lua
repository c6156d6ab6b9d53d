-- ARGV: 1 owner, 2 what the owner was told is applied, 3 next offset, 4 channel of the watchers, 5 the partition, 6 bytes
--       that a row costs beside its value; then for each row, ascending: seq, account, email, value
-- Returns what is applied now, or -1 when the partition is not the owner's any more.
if not may_write(ARGV[1], ARGV[2]) then
  return -1
end
local told = {}
local next_offset = math.max(applied_to, tonumber(ARGV[3]))
local last, n
for at = 7, #ARGV, 4 do
  local seq, account, email, value = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if seq >= applied_to then
    n = seq == last and n + 1 or 1
    last = seq
    bytes = bytes + tonumber(ARGV[6]) + #account + #email + #value
    local id = digits(seq) .. '-' .. n
    redis.call('XADD', ROWS, id, 'a', account, 'e', email, 'v', value, 'b', digits(bytes))
    redis.call('ZADD', ACCOUNTS, 0, account .. place(seq, n))
    email_count = email_count + redis.call('HSET', NEWEST, account .. email, id)
    row_count = row_count + 1
    next_offset = math.max(next_offset, seq + 1)
    told[#told + 1] = string.format('%020.0f', seq) .. account
  end
end
if next_offset > applied_to then
  redis.call('HSET', META, 'applied_to', digits(next_offset), 'rows', row_count, 'emails', email_count,
    'bytes', digits(bytes))
  -- Says what it follows on, so that who missed something notices.
  local step = string.format('C%010.0f%020.0f%020.0f', ARGV[5], applied_to, next_offset)
  redis.call('PUBLISH', ARGV[4], step .. table.concat(told))
end
return next_offset
