-- ARGV: 1 account, or '' for all; 2 and 3 seq and n of the first row; 4 the seq to end before, or '' for all that is
--       applied; 5 rows and 6 bytes, about, of a page
-- Returns nothing when the partition is not held, else owner, held_from, applied_to, complete_at, 1 when there is more,
-- then for each row: id, account, email, value
if not is_whole() then
  return {}
end
local account, from, from_n = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local to = ARGV[4] == '' and applied_to or tonumber(ARGV[4])
local max_rows, max_bytes = tonumber(ARGV[5]), tonumber(ARGV[6])
if from < held_from then
  from, from_n = held_from, 0
end
local page, taken, size = { owner, meta[2], meta[3], meta[9] or '0', 0 }, 0, 0

local function is_full()
  return taken >= max_rows or size >= max_bytes
end

local function take(entry)
  local row = fields(entry)
  page[#page + 1] = entry[1]
  page[#page + 1] = row.a
  page[#page + 1] = row.e
  page[#page + 1] = row.v
  taken = taken + 1
  size = size + #row.v
end

local function take_account()
  local places = redis.call('ZRANGEBYLEX', ACCOUNTS, '[' .. account .. place(from, from_n),
    '(' .. account .. place(to, 0), 'LIMIT', 0, max_rows + 1)
  for _, member in ipairs(places) do
    if is_full() then
      return 1
    end
    local seq, n = string.match(member, '(%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d)(%d%d%d%d%d%d%d%d%d%d)$')
    local id = digits(tonumber(seq)) .. '-' .. digits(tonumber(n))
    take(redis.call('XRANGE', ROWS, id, id)[1])
  end
  return 0
end

local function take_all()
  -- Few at a time, since rows may be large.
  local STEP = 16
  while true do
    local start = digits(from) .. '-' .. digits(from_n)
    local entries = redis.call('XRANGE', ROWS, start, digits(to) .. '-0', 'COUNT', STEP)
    for _, entry in ipairs(entries) do
      if is_full() then
        return 1
      end
      take(entry)
      from, from_n = split(entry[1])
      from_n = from_n + 1
    end
    if #entries < STEP then
      return 0
    end
  end
end

if account == '' then
  page[5] = take_all()
else
  page[5] = take_account()
end
return page
