-- Creates an album, or checks that it was created with the same contents.
-- KEYS: album, albums. ARGV: id, then tenant, class, source, destination, settings, trace.
-- Returns "" when it exists now as asked for, otherwise the name of the field that differs.
local names = {'tenant', 'class', 'source', 'destination', 'settings'}
local old = redis.call('HMGET', KEYS[1], unpack(names))
if old[1] then
    for i, name in ipairs(names) do
        if old[i] ~= ARGV[i + 1] then return name end
    end
    return ''
end
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
redis.call('HSET', KEYS[1], 'tenant', ARGV[2], 'class', ARGV[3], 'source', ARGV[4],
    'destination', ARGV[5], 'settings', ARGV[6], 'trace', ARGV[7], 'created_ms', now, 'expected', 0, 'sealed', 0,
    'cancel', 0, 'total', 0, 'waiting', 0, 'leased', 0, 'delayed', 0, 'done', 0, 'dead', 0,
    'cancelled', 0)
redis.call('ZADD', KEYS[2], now, ARGV[1])
return ''
