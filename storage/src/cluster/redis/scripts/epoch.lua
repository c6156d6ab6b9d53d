-- Gives the epoch at KEYS[1], which is ARGV[1] when there is none.
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
