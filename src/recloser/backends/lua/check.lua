-- Uses every command of the other scripts once, on a key of its own: what this user may not do is found out before
-- anything is counted, and not in the middle of a transition. Wherever it ends, it leaves nothing.
--
-- KEYS     a key that is nobody's
-- ARGV     1 the channel
-- Returns  1

local key = KEYS[1]
redis.call('TIME')
redis.call('DEL', key)
redis.call('PERSIST', key)
redis.call('PEXPIRE', key, '1000')
redis.call('GET', key)
redis.call('HGET', key, 'f')
redis.call('HMGET', key, 'f')
redis.call('HGETALL', key)
redis.call('HKEYS', key)
redis.call('HVALS', key)
redis.call('HLEN', key)
redis.call('HDEL', key, 'f')
redis.call('ZSCORE', key, 'm')
redis.call('ZCARD', key)
redis.call('ZCOUNT', key, '-inf', '+inf')
redis.call('ZRANGEBYSCORE', key, '-inf', '+inf')
redis.call('ZREMRANGEBYSCORE', key, '-inf', '+inf')
redis.call('XLEN', key)
redis.call('XREVRANGE', key, '+', '-', 'COUNT', '1')
redis.call('XADD', key, 'NOMKSTREAM', 'MAXLEN', '~', '1', '*', 'f', '1')
redis.call('SET', key, '1', 'PX', '1000')
redis.call('DEL', key)
redis.call('HSET', key, 'f', '1')
redis.call('DEL', key)
redis.call('ZADD', key, '1', 'm')
redis.call('DEL', key)
redis.call('PUBLISH', ARGV[1], '["",0,null]')
return 1
