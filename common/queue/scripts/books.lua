-- The books of an album at one instant. KEYS: album, seen, done. Returns the numbers in the order
-- of cloak_books, or an empty array for an unknown album.
local v = redis.call('HMGET', KEYS[1], 'total', 'waiting', 'leased', 'delayed', 'done', 'dead',
    'cancelled', 'expected', 'sealed', 'cancel', 'paused')
if not v[1] then return {} end
local out = {}
for i = 1, 11 do out[i] = tonumber(v[i] or 0) end
out[12] = redis.call('BITCOUNT', KEYS[2])
out[13] = redis.call('BITCOUNT', KEYS[3])
return out
