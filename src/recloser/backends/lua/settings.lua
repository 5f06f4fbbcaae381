-- Replaces what operators have said if that is still what was seen, and tells everybody.
--
-- KEYS     live settings (hash: v version, d JSON; never expires), events (a stream)
-- ARGV     1 now or '', 2 the version seen, 3 the new settings (JSON), 4 the new version or 0 for one that grows,
--          5 the channel, 6 how many events are kept, 7 how long they live (ms), 8... the events (JSON)
-- Returns  {version, settings} as they are then, or nothing when others were quicker

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local known = redis.call('HMGET', KEYS[1], 'v', 'd')
if known[2] == ARGV[3] and known[1] ~= ARGV[2] then
  -- What it was to become, in an earlier try whose answer was lost, or by somebody who said the same.
  return {tonumber(known[1]), known[2]}
end
if tonumber(known[1] or 0) ~= tonumber(ARGV[2]) then
  return {}
end

-- A key of another type must not leave half of it done.
redis.call('XLEN', KEYS[2])

local version = tonumber(ARGV[4])
if version == 0 then
  version = math.max(tonumber(ARGV[2]) + 1, math.floor(now / 1000))
end
local written = string.format('%.0f', version)
redis.call('HSET', KEYS[1], 'v', written, 'd', ARGV[3])
for place = 8, #ARGV do
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], '*', 'event', ARGV[place])
end
if #ARGV >= 8 then
  redis.call('PEXPIRE', KEYS[2], ARGV[7])
end
redis.call('PUBLISH', ARGV[5], '["*",' .. string.format('%.0f', now) .. ',null]')
return {version, ARGV[3]}
