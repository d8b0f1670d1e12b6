-- Pauses an album, or lets it go on. KEYS: album, resuming. ARGV: id, 1 or 0.
-- Returns 1, or -1 for an unknown album.
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
if ARGV[2] == '1' then
    redis.call('HSET', KEYS[1], 'paused', 1)
    redis.call('SREM', KEYS[2], ARGV[1])
elseif redis.call('HDEL', KEYS[1], 'paused') == 1 then
    redis.call('SADD', KEYS[2], ARGV[1])
end
return 1
