-- Pauses an album, or lets it go on. A cancelled one is not paused: nothing of it waits.
-- KEYS: album, resuming, paused:albums. ARGV: id, 1 or 0. Returns 1, or -1 for an unknown album.
local cancelled = redis.call('HGET', KEYS[1], 'cancel')
if not cancelled then return -1 end
if ARGV[2] == '1' and cancelled ~= '1' then
    redis.call('HSET', KEYS[1], 'paused', 1)
    redis.call('SADD', KEYS[3], ARGV[1])
    redis.call('SREM', KEYS[2], ARGV[1])
elseif ARGV[2] == '0' and redis.call('HDEL', KEYS[1], 'paused') == 1 then
    redis.call('SREM', KEYS[3], ARGV[1])
    redis.call('SADD', KEYS[2], ARGV[1])
end
return 1
