-- Ends the token ARGV[1] in KEYS[1], until ARGV[2]. It is ARGV[3] now, in microseconds ARGV[4]; all is kept for ARGV[5]
-- seconds. Of more than ARGV[6] tokens those go that would have ended by themselves; when that is not enough, all end that
-- were opened until now.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local most = tonumber(ARGV[6])
if redis.call('HLEN', KEYS[1]) > most then
  local kept = redis.call('HGETALL', KEYS[1])
  for at = 1, #kept, 2 do
    if kept[at] ~= 'cut' and tonumber(kept[at + 1]) <= tonumber(ARGV[3]) then
      redis.call('HDEL', KEYS[1], kept[at])
    end
  end
  if redis.call('HLEN', KEYS[1]) > most then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'cut', ARGV[4])
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
