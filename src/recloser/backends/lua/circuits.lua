-- The names of the circuits whose keys have not expired.
--
-- KEYS     circuits (see exchange.lua)
-- ARGV     1 now or ''

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
return redis.call('ZRANGEBYSCORE', KEYS[1], string.format('%.0f', now), '+inf')
