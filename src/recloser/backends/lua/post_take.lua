-- The next letter for a hook; nobody else gets it until its lease ends. Letters about one incident go one by one.
--
-- KEYS     letters, texts, recent (see post_write.lua) as 4, hooks (see post_read.lua) as 3
-- ARGV     1 now or '', 2 the hook, 3 the length of the lease (microseconds), 4 how long keys live (ms),
--          5 how long a hook is remembered, 6 what such a hook is told of when it is new (both microseconds)
-- Returns  {number, incident, tries, error, alert}, or {wait in microseconds}, or {} when nothing waits

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local letters, texts, recent = KEYS[1], KEYS[2], KEYS[4]
local heard = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[2]) or -math.huge)
redis.call('PEXPIRE', KEYS[3], ARGV[4]) -- if it may not, nothing must be left that stays for ever
redis.call('ZADD', KEYS[3], string.format('%.0f', now), ARGV[2])
redis.call('PEXPIRE', KEYS[3], ARGV[4])

local function sent(number)
  local alert = cmsgpack.unpack(redis.call('HGET', recent, string.format('%.0f', number)))
  if now - alert[1] < tonumber(ARGV[6]) then
    local field = string.format('%.0f', tonumber(redis.call('HGET', letters, 'next') or 0) + 1)
    redis.call('HSET', letters, 'next', field, field, cmsgpack.pack({alert[2], 0, 0, ''}))
    redis.call('HSET', texts, field, alert[3])
    redis.call('PEXPIRE', letters, ARGV[4])
    redis.call('PEXPIRE', texts, ARGV[4])
  end
end

local function numbers_of(key)
  local numbers = {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if tonumber(field) then
      numbers[#numbers + 1] = tonumber(field)
    end
  end
  table.sort(numbers)
  return numbers
end

-- One that nobody has written to, since nobody knew of it.
if now - heard > tonumber(ARGV[5]) and redis.call('HLEN', letters) == 0 then
  for _, number in ipairs(numbers_of(recent)) do
    sent(number)
  end
end

local begun, soonest = {}, nil
for _, number in ipairs(numbers_of(letters)) do
  local field = string.format('%.0f', number)
  local letter = cmsgpack.unpack(redis.call('HGET', letters, field))
  local incident, due = letter[1], letter[2]
  if not begun[incident] then
    begun[incident] = true
    local text = redis.call('HGET', texts, field)
    if not text then
      redis.call('HDEL', letters, field)
    elseif due <= now then
      letter[2], letter[3] = now + ARGV[3], letter[3] + 1
      redis.call('HSET', letters, field, cmsgpack.pack(letter))
      return {number, incident, letter[3], letter[4], text}
    else
      soonest = math.min(soonest or due, due)
    end
  end
end
return soonest and {soonest - now} or {}
