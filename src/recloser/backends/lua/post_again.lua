-- The letters that were given up; with 'retry' they wait for their hook again.
--
-- KEYS     letters, texts, undelivered (see post_settle.lua)
-- ARGV     1 'retry' or '', 2 how long keys live (ms)
-- Returns  {{number, incident, tries, error, alert}...}

local letters, texts, undelivered = KEYS[1], KEYS[2], KEYS[3]
local found = {}
for _, field in ipairs(redis.call('HKEYS', undelivered)) do
  local letter = cmsgpack.unpack(redis.call('HGET', undelivered, field))
  local text = redis.call('HGET', texts, field)
  if text then
    found[#found + 1] = {tonumber(field), letter[1], letter[2], letter[3], text}
  end
  if ARGV[1] == 'retry' then
    redis.call('HDEL', undelivered, field)
    redis.call('HSET', letters, field, cmsgpack.pack({letter[1], 0, 0, letter[3]}))
  end
end
if ARGV[1] == 'retry' and #found > 0 then
  redis.call('PEXPIRE', letters, ARGV[2])
end
return found
