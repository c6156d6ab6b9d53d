-- ARGV: 1 account and email
-- Returns nothing when the partition is not held, else a list: empty, or id and value of the email's newest row.
if not is_whole() then
  return false
end
local id = redis.call('HGET', NEWEST, ARGV[1])
if not id then
  return {}
end
return { id, fields(redis.call('XRANGE', ROWS, id, id)[1]).v }
