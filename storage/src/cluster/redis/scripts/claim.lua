-- KEYS: 1 the claim: `<time> <claimant>`
-- ARGV: 1 claimant, 2 time, 3 window, both in µs, 4 for how many ms Redis keeps the claim, 5 the time before which claims
--       are forgotten
-- Returns nothing when the claim is the claimant's, else who has it.
local held = redis.call('GET', KEYS[1])
if held then
  local at, claimant = string.match(held, '^(%S+) (.*)$')
  at = tonumber(at)
  if claimant == ARGV[1] then
    return false
  end
  if at >= tonumber(ARGV[5]) and tonumber(ARGV[2]) - at <= tonumber(ARGV[3]) then
    return claimant
  end
end
redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. ARGV[1], 'PX', ARGV[4])
return false
