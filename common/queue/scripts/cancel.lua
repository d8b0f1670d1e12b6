-- Cancels an album in constant time. Its entries stay in the lists; whoever comes upon one sees
-- the flag and drops it without touching the books, which have counted it as cancelled here. The
-- flag is never taken back: an entry left behind could not be told from a new one.
-- What a pause had set aside goes the same way: claims come upon it there.
-- KEYS: album, backlog, resuming, paused:albums. ARGV: id. Returns 1, or -1 for an unknown album.
local v = redis.call('HMGET', KEYS[1], 'waiting', 'delayed') -- both 0 the second time
if not v[1] then return -1 end
redis.call('HDEL', KEYS[1], '', 'paused') -- a deletion first: a server that is full must let us cancel
redis.call('SREM', KEYS[4], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('HSET', KEYS[1], 'cancel', 1, 'waiting', 0, 'delayed', 0)
redis.call('HINCRBY', KEYS[1], 'cancelled', tonumber(v[1]) + tonumber(v[2]))
redis.call('DECRBY', KEYS[2], v[1])
return 1
