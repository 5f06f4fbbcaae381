-- Writes the journal if nobody has since it was read, and letters for hooks.
--
-- KEYS     journal (see post_read.lua), recent (hash: number -> {when it was said, incident, alert}; next), and for each
--          hook: letters (hash: number -> {incident, due, tries, error}; next, the last number; dropped, how many),
--          texts (hash: number -> alert)
-- ARGV     1 now or '', 2 the version read, 3 the text, 4 the cursor, 5 when something is due or '', 6 how long keys live
--          (ms), 7 how many letters are kept for each hook, 8 how many recent ones, 9 JSON: [[incident, alert]...]
-- Returns  1 when it did, 0 when others were quicker

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local journal, recent, lives = KEYS[1], KEYS[2], ARGV[6]
if (redis.call('HGET', journal, 'v') or '0') ~= ARGV[2] then
  return 0
end
local alerts = cjson.decode(ARGV[9])

local function whole(number)
  return string.format('%.0f', number)
end

local function next_number(key)
  local number = whole(tonumber(redis.call('HGET', key, 'next') or 0) + 1)
  redis.call('HSET', key, 'next', number)
  return number
end

-- The oldest field that is a number.
local function oldest(key)
  local found
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local number = tonumber(field)
    if number and (not found or number < found) then
      found = number
    end
  end
  return whole(found)
end

for _, alert in ipairs(alerts) do
  redis.call('HSET', recent, next_number(recent), cmsgpack.pack({now, alert[1], alert[2]}))
  while redis.call('HLEN', recent) - 1 > tonumber(ARGV[8]) do
    redis.call('HDEL', recent, oldest(recent))
  end
end
for place = 3, #KEYS, 2 do
  local letters, texts = KEYS[place], KEYS[place + 1]
  for _, alert in ipairs(alerts) do
    local number = next_number(letters)
    redis.call('HSET', letters, number, cmsgpack.pack({alert[1], 0, 0, ''}))
    redis.call('HSET', texts, number, alert[2])
  end
  while redis.call('HLEN', letters) - 2 > tonumber(ARGV[7]) do
    local number = oldest(letters)
    redis.call('HSET', letters, 'dropped', whole(tonumber(redis.call('HGET', letters, 'dropped') or 0) + 1))
    redis.call('HDEL', letters, number)
    redis.call('HDEL', texts, number)
  end
  if #alerts > 0 then
    redis.call('PEXPIRE', letters, lives)
    redis.call('PEXPIRE', texts, lives)
  end
end
if #alerts > 0 then
  redis.call('PEXPIRE', recent, lives)
end
-- Never a version that there was before the server lost everything: processes remember which text belongs to which.
redis.call('HSET', journal, 'v', whole(math.max(ARGV[2] + 1, now)), 'j', ARGV[3], 'c', ARGV[4], 'd', ARGV[5])
redis.call('PEXPIRE', journal, lives)
return 1
