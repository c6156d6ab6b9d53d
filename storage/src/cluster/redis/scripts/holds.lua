-- Whether the token ARGV[1] of the epoch ARGV[2], opened at ARGV[3], has not been ended: KEYS[1] is the epoch now,
-- KEYS[2] what ended.
if redis.call('GET', KEYS[1]) ~= ARGV[2] then
  return 0
end
local ended = redis.call('HMGET', KEYS[2], ARGV[1], 'cut')
if ended[1] or (ended[2] and tonumber(ARGV[3]) <= tonumber(ended[2])) then
  return 0
end
return 1
