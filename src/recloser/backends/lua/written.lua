-- Writes down what a process has in use.
--
-- KEYS     what is in use (hash: "circuit NAME", "fallback NAME", "requirement NAME", "defaults" -> JSON)
-- ARGV     1 how long it lives (ms), 2... name, text, name, text

if #ARGV > 1 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 2))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
