-- What became of a letter that was taken.
--
-- KEYS     letters, texts (see post_write.lua), undelivered (hash: number -> {incident, tries, error})
-- ARGV     1 now or '', 2 the number, 3 'delivered', 'later' or 'never', 4 how much later (microseconds), 5 the error,
--          6 how many undelivered ones are kept, 7 how long keys live (ms)

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local letters, texts, undelivered = KEYS[1], KEYS[2], KEYS[3]
local packed = redis.call('HGET', letters, ARGV[2])
if not packed then
  return 0
end
if ARGV[3] == 'delivered' then
  redis.call('HDEL', letters, ARGV[2])
  redis.call('HDEL', texts, ARGV[2])
  return 1
end
local letter = cmsgpack.unpack(packed)
letter[4] = ARGV[5]
if ARGV[3] == 'later' then
  letter[2] = now + ARGV[4]
  redis.call('HSET', letters, ARGV[2], cmsgpack.pack(letter))
  return 1
end
redis.call('HDEL', letters, ARGV[2])
redis.call('HSET', undelivered, ARGV[2], cmsgpack.pack({letter[1], letter[3], letter[4]}))
redis.call('PEXPIRE', undelivered, ARGV[7])
while redis.call('HLEN', undelivered) > tonumber(ARGV[6]) do
  local oldest
  for _, field in ipairs(redis.call('HKEYS', undelivered)) do
    oldest = math.min(oldest or tonumber(field), tonumber(field))
  end
  redis.call('HDEL', undelivered, string.format('%.0f', oldest))
  redis.call('HDEL', texts, string.format('%.0f', oldest))
end
return 1
