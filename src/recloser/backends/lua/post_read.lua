-- Where the journal of alerts stands, and what has happened since.
--
-- KEYS     journal (hash: v version, j text, c cursor, d when something is due), events (a stream),
--          hooks (sorted set: name -> when its last process was heard of)
-- ARGV     1 now or '', 2 the version whose text is known, 3 how long a hook is remembered (microseconds)
-- Returns  {now, version, text ('' if it is known), cursor, due or '', {hook...}, {{id, event}... the latest first}}

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local known = redis.call('HMGET', KEYS[1], 'v', 'j', 'c', 'd')
local cursor = known[3] or '0-0'
local hooks = redis.call('ZRANGEBYSCORE', KEYS[3], string.format('%.0f', now - ARGV[3]), '+inf')
local events = redis.call('XREVRANGE', KEYS[2], '+', '(' .. cursor)
local text = known[1] ~= ARGV[2] and known[2] or ''
return {now, tonumber(known[1] or 0), text, cursor, known[4] or '', hooks, events}
