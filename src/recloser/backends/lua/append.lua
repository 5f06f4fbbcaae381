-- Adds an event that no swap brought.
--
-- KEYS     events (a stream)
-- ARGV     1 the event (JSON), 2 how many events are kept, 3 how long they live (ms)

redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'event', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
