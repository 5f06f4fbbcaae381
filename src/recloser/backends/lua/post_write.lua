-- Writes the journal if nobody has since it was read, and letters for hooks.
--
-- KEYS     journal (see post_read.lua), and for each hook: letters (hash: number -> {incident, due, tries, error}; next,
--          the last number; dropped, how many), texts (hash: number -> alert)
-- ARGV     1 the version read, 2 the text, 3 the cursor, 4 when something is due or '', 5 how long keys live (ms),
--          6 how many letters are kept for each hook, 7 JSON: [[incident, alert]...]
-- Returns  1 when it did, 0 when others were quicker

local journal = KEYS[1]
if (redis.call('HGET', journal, 'v') or '0') ~= ARGV[1] then
  return 0
end
local alerts = cjson.decode(ARGV[7])
for place = 2, #KEYS, 2 do
  local letters, texts = KEYS[place], KEYS[place + 1]
  for _, alert in ipairs(alerts) do
    local number = tonumber(redis.call('HGET', letters, 'next') or 0) + 1
    local field = string.format('%.0f', number)
    redis.call('HSET', letters, 'next', field, field, cmsgpack.pack({alert[1], 0, 0, ''}))
    redis.call('HSET', texts, field, alert[2])
  end
  -- The oldest goes for a new one.
  while redis.call('HLEN', letters) - 2 > tonumber(ARGV[6]) do
    local oldest
    for _, field in ipairs(redis.call('HKEYS', letters)) do
      local number = tonumber(field)
      if number and (not oldest or number < oldest) then
        oldest = number
      end
    end
    local dropped = tonumber(redis.call('HGET', letters, 'dropped') or 0) + 1
    redis.call('HSET', letters, 'dropped', string.format('%.0f', dropped))
    redis.call('HDEL', letters, string.format('%.0f', oldest))
    redis.call('HDEL', texts, string.format('%.0f', oldest))
  end
  if #alerts > 0 then
    redis.call('PEXPIRE', letters, ARGV[5])
    redis.call('PEXPIRE', texts, ARGV[5])
  end
end
redis.call('HSET', journal, 'v', string.format('%.0f', ARGV[1] + 1), 'j', ARGV[2], 'c', ARGV[3], 'd', ARGV[4])
redis.call('PEXPIRE', journal, ARGV[5])
return 1
