-- Replaces the record of a circuit if its generation is still the one that was seen, and tells everybody.
--
-- KEYS     head, window, once, reporters, circuits (see exchange.lua), events (a stream)
-- ARGV     1 now or '', 2 the generation seen, 3 the new generation, 4 the new record (JSON), 5 the event (JSON) or '',
--          6 clear the window: 1 or 0, 7 never expires: 1 or 0, 8 a name for this swap, 9 how long keys live (ms),
--          10 the channel, 11 the circuit, 12 how many events are kept, 13 how long they live (ms)
-- Returns  1 when it did, now or in an earlier try whose answer was lost; 0 when others were quicker

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local head, circuits = KEYS[1], KEYS[5]
local known = redis.call('HMGET', head, 'g', 'w')
if known[2] == ARGV[8] then
  return 1
end
if (known[1] or '0') ~= ARGV[2] then
  return 0
end

-- A key of another type must not leave half of it done.
redis.call('ZCARD', circuits)
redis.call('XLEN', KEYS[6])

local moment = string.format('%.0f', now)
redis.call('HSET', head, 'g', ARGV[3], 'r', ARGV[4], 'b', moment, 'k', ARGV[7], 'w', ARGV[8], 'x', moment)
-- The tally, the permits and the refusals end with the generation.
redis.call('HDEL', head, 'y', 's', 'n')
if ARGV[6] == '1' then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
  redis.call('HDEL', head, 't', 'o', 'q')
else
  redis.call('PEXPIRE', KEYS[2], ARGV[9])
end
if ARGV[7] == '1' then
  redis.call('PERSIST', head)
  redis.call('ZADD', circuits, '+inf', ARGV[11])
  redis.call('PERSIST', circuits)
else
  redis.call('PEXPIRE', head, ARGV[9])
  redis.call('ZADD', circuits, string.format('%.0f', now + ARGV[9] * 1000), ARGV[11])
  if redis.call('ZCOUNT', circuits, '+inf', '+inf') == 0 then
    redis.call('PEXPIRE', circuits, ARGV[9])
  end
end
if ARGV[5] ~= '' then
  redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[12], '*', 'event', ARGV[5])
  redis.call('PEXPIRE', KEYS[6], ARGV[13])
end
redis.call('PUBLISH', ARGV[10], '[' .. cjson.encode(ARGV[11]) .. ',' .. moment .. ',' .. ARGV[4] .. ']')
return 1
